// What happened, the newest first, and what stands above everything else.

const LOG_ROWS = 150;

/** Shows of the list what somebody wants to see of it. */
function sift() {
  $('log').classList.toggle('quiet', !$('notes').checked);
  $('log').classList.toggle('only', $('only').checked);
}

/** Leads to the alarms. */
function showAlarms() {
  $('only').checked = true;
  sift();
  $('log').scrollIntoView({ block: 'center' });
  $('log').focus();
}

function alarmsButton() {
  return el('button', { type: 'button', class: 'alarms', title: 'Show the list of alarms', onclick: showAlarms });
}

function logOf() {
  const list = $('log');
  // The newest rows, which more of the same is added to.
  let newest = 0,
    rows = [],
    drawn = -1,
    spoken = 0;
  for (const id of ['notes', 'only']) $(id).addEventListener('change', sift);
  sift();

  /** Once every while what matters is said to those who listen to the page. */
  function speak(event) {
    if (event.weight === 'note' || (event.weight !== 'alarm' && performance.now() - spoken < 1500)) return;
    spoken = performance.now();
    say($('told'), `${event.replica === null ? '' : `Replica ${event.replica}: `}${event.what}`);
  }

  const whose = ids =>
    ids.includes(null) ? 'all' : ids.length > 2 ? `${ids.length} replicas` : named(ids.sort((a, b) => a - b));

  /** The newest is first; replicas are heard one after the other, so some come a little late. */
  function insert(row, t) {
    let before = list.firstChild;
    while (before && Number(before.dataset.t) > t) before = before.nextSibling;
    list.insertBefore(row, before);
  }

  /** The same again, of the same replica or of others: one line says it. */
  function repeat(row, event) {
    row.times++;
    row.t = Math.max(row.t, event.t);
    row.who.add(event.replica);
    say(row.name, whose([...row.who]));
    say(row.words, row.sign + row.what + (row.times > row.who.size ? ` (${row.times} times)` : ''));
  }

  function add(event) {
    const same = rows.find(row => row.what === event.what && Math.abs(event.t - row.t) < 3e6);
    if (same) return repeat(same, event);
    const sign = { alarm: '! ', warning: '▲ ', deed: '▼ ', note: '' }[event.weight];
    const row = {
      what: event.what,
      t: event.t,
      sign,
      times: 1,
      who: new Set([event.replica]),
      name: el('span', { class: 'who', text: whose([event.replica]) }),
      words: el('span', { text: sign + event.what }),
    };
    rows = [row, ...rows.slice(0, 11)];
    insert(
      el(
        'li',
        { 'data-weight': event.weight, 'data-t': event.t },
        el('time', { text: clock(event.t) }),
        row.name,
        row.words,
      ),
      event.t,
    );
    speak(event);
  }

  return {
    reset() {
      list.replaceChildren();
      [newest, rows, drawn] = [0, [], -1];
    },
    draw(model) {
      if (drawn === model.changed.events) return;
      drawn = model.changed.events;
      const keep = list.scrollTop > 4 ? list.scrollHeight - list.scrollTop : null;
      for (const event of model.events.filter(event => event.id > newest).slice(-LOG_ROWS)) {
        newest = event.id;
        add(event);
      }
      // Alarms outlast what is newer than they are.
      while (list.childElementCount > LOG_ROWS) {
        const rest = list.querySelectorAll(':scope > :not([data-weight=alarm])');
        (rest[rest.length - 1] || list.lastChild).remove();
      }
      // Who reads further down is not pushed away by what is new.
      if (keep !== null) list.scrollTop = list.scrollHeight - keep;
    },
  };
}

function bannersOf() {
  const place = $('banners');
  const shown = new Map();
  return {
    draw(found) {
      const most = found.slice(0, 6);
      const keys = new Set(most.map(one => one.key));
      for (const [key, node] of shown) {
        if (!keys.has(key)) {
          node.remove();
          shown.delete(key);
        }
      }
      for (const one of most) {
        let node = shown.get(one.key);
        if (!node) {
          node = el('div', { class: 'banner', 'data-key': one.key }, el('strong'), el('span'));
          shown.set(one.key, node);
          place.append(node);
          // Its words change all the time; it is read out once.
          say($('warned'), one.title);
        }
        mark(node, 'class', one.level === 'bad' ? 'banner' : 'banner warn');
        say(node.firstChild, one.title);
        say(node.lastChild, one.words);
      }
    },
  };
}
