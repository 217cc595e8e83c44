// The section about one agreement: which slot is shown, its slow motion, its steps, who voted, and the list beside it.

const still = matchMedia('(prefers-reduced-motion: reduce)');

function agreementOf(schedule) {
  const canvas = $('space-time');
  let follow = true,
    look = -1,
    story = null,
    key = null,
    shown = null,
    first = 0,
    begun = 0,
    ended = 0,
    hovering = false;
  let model = null,
    all = [],
    lanesFor = '',
    stepsFor = '',
    drawn = '',
    rowsDrawn = '',
    quorumsFor = '',
    tableFor = '';

  const list = slotList(slot => choose(slot));
  $('slots').addEventListener('pointerenter', () => {
    hovering = true;
  });
  $('slots').addEventListener('pointerleave', () => {
    hovering = false;
  });
  $('follow').addEventListener('click', () => setFollow(!follow));
  $('again').addEventListener('click', () => again());
  $('times').addEventListener('toggle', schedule);

  function setFollow(on) {
    follow = on;
    mark($('follow'), 'aria-pressed', on);
    if (on && ended > 0) ended = -Infinity;
    schedule();
  }

  function choose(slot) {
    setFollow(false);
    start(slot);
  }

  function start(slot) {
    [shown, key, story, begun, ended] = [slot, slot.key, null, performance.now(), 0];
    schedule();
  }

  function again() {
    if (shown) start(shown);
  }

  function reset() {
    [all, shown, key, story, first] = [[], null, null, null, 0];
  }

  /** Goes to an earlier (1) or later (-1) slot. */
  function step(by) {
    const place = () => all.findIndex(slot => slot.key === key);
    // Beyond the newest that was there when the picture was held there may be newer ones by now.
    if (by < 0 && place() === 0) all = newestFirst(model);
    const slot = all[Math.min(all.length - 1, Math.max(0, place() + by))];
    if (slot) choose(slot);
  }

  function lookAt(id) {
    look = look === id ? -1 : id;
    schedule();
  }

  /** Which slot is due: the newest one, once the slow motion before it was seen. */
  function pick(now) {
    // Rows stay where they are while somebody reads or points at them.
    if ((follow && !hovering) || all.length === 0) all = newestFirst(model);
    if (key === null && !follow) setFollow(true);
    if (!follow) return;
    const rest = still.matches ? 2000 : SHOW.rest;
    const due = slotToShow(model);
    // The first agreement under a new primary is worth an interruption.
    const isNewView = due && shown && due.view > shown.view;
    if (key !== null && !isNewView && (ended === 0 || now - ended < rest)) return;
    if (due && due.key !== key) start(due);
  }

  function draw(found, now, anew) {
    model = found;
    if (look >= model.header.n) look = -1;
    pick(now);
    drawRows(anew);
    if (!shown) return drawNothing(anew);
    // One that is held stays, even if the model has forgotten it by now.
    const slot = (shown = model.slots.get(key) || shown);
    if (!story || story.changed !== slot.changed || story.primary !== primaryOf(model, slot.view))
      story = storyOf(model, slot);
    // Who was right may become known in a later view only.
    story.strays = strays(model, slot);
    drawNames(anew);
    // What is not decided yet has no end to run to: all that is known is drawn at once.
    const open = openFor(model, slot) !== null;
    const share = still.matches || open ? 1 : Math.min(1, (now - begun) / SHOW.run);
    if (share >= 1 && ended === 0) ended = now;
    const width = canvas.clientWidth;
    const scale = scaleOf(story, width);
    const upTo = share >= 1 ? Infinity : EDGE + share * (scale.end - EDGE);
    const state = `${key} ${story.changed} ${upTo} ${width} ${look} ${upOnes(model).length} ${unseen(model, slot, 'executed')} ${story.strays.length}`;
    if (state !== drawn || anew) {
      drawn = state;
      drawStory(canvas, model, story, { upTo, look });
    }
    drawWords(slot, open);
    drawSteps(slot, scale, upTo, open);
    drawQuorums(slot, scale, upTo);
    drawTable(slot);
  }

  function drawNothing(anew) {
    drawNames(anew);
    if (drawn === '' && !anew) return;
    drawn = quorumsFor = tableFor = '';
    say($('slot-words'), 'As soon as something is agreed on, it is drawn here.');
    mark(canvas, 'aria-label', 'Nothing is drawn yet.');
    show($('odd'), false);
    $('quorums').replaceChildren();
    $('times-table').replaceChildren();
    sheet(canvas, TOP + CLIENTS + model.header.n * laneHeight(model.header.n) + BOTTOM);
    drawSteps(null, null, -1, false);
  }

  /** The names of lanes are buttons, in the page rather than in the picture, so that the keyboard reaches them. */
  function drawNames(anew) {
    const { n } = model.header;
    const primary = story ? story.primary : -1;
    const odd = story ? distinct(story.strays.map(vote => vote.from)) : [];
    const form = `${n} ${look} ${primary} ${odd}`;
    if (form === lanesFor && !anew) return;
    const place = $('lane-names');
    const lane = laneHeight(n);
    if (place.childElementCount !== n + 1) {
      place.replaceChildren(el('span', { text: 'clients' }));
      for (let id = 0; id < n; id++) place.append(el('button', { type: 'button', onclick: () => lookAt(id) }));
      place.style.paddingTop = `${TOP}px`;
      [...place.children].forEach((child, at) => {
        child.style.height = `${at === 0 ? CLIENTS : lane}px`;
      });
    }
    [...place.children].slice(1).forEach((child, id) => {
      say(child, `${odd.includes(id) ? '≠ ' : ''}${id === primary ? '♛ ' : ''}${id}`);
      mark(child, 'aria-pressed', id === look);
      const label = `Look at replica ${id}${id === primary ? ', the primary of this view' : ''}${odd.includes(id) ? ', which voted for another batch than was committed' : ''}`;
      mark(child, 'aria-label', label);
      mark(child, 'title', label);
    });
    lanesFor = form;
  }

  function drawRows(anew) {
    const at = all.findIndex(slot => slot.key === key);
    if (follow) first = 0;
    else if (at >= 0) first = Math.min(at, Math.max(first, at - ROWS + 1));
    const rows = all.slice(first, first + ROWS);
    // The slot in the picture is the last row if it is not among the newest any more.
    if (follow && at >= ROWS) rows[ROWS - 1] = all[at];
    const state = `${rows.map(slot => `${slot.key}.${slot.changed}`)} ${key} ${$('slots').clientWidth} ${Math.floor(model.now / 3e5)}`;
    if (state === rowsDrawn && !anew) return;
    rowsDrawn = state;
    list.draw(model, rows, key, { anew, apart: follow && at >= ROWS });
  }

  function drawWords(slot, open) {
    const took = story.bounds[4] - story.bounds[0];
    const slower = (SHOW.run * 1000) / Math.max(1, story.end - story.start);
    const words = open
      ? `Slot ${count(slot.seq)} of view ${slot.view} is not decided. ${waits(slot)}`
      : `Slot ${count(slot.seq)} of view ${slot.view}: ${slot.operations === 0 ? 'nothing in it (a new primary fills gaps so)' : many(slot.operations, 'operation')}, committed after ${duration(took)}` +
        (still.matches ? '.' : slower > 1.5 ? `; shown about ${short(slower)} times slower.` : '.');
    say($('slot-words'), words);
    mark(canvas, 'aria-label', storyInWords(model, story));
    const odd = straysInWords(model, story.strays);
    say($('odd'), odd);
    show($('odd'), odd !== '');
  }

  function waits(slot) {
    const words = model.replicas
      .map((replica, id) => [id, isUp(replica) ? missing(model, slot, id) : ''])
      .filter(([, what]) => what !== '')
      .slice(0, 3)
      .map(([id, what]) => `replica ${id} ${what}`);
    return words.length > 0 ? `${capital(words.join('; '))}.` : '';
  }

  function drawSteps(slot, scale, upTo, open) {
    const place = $('steps');
    const form = JSON.stringify([model.header.n, model.header.q, slot ? slot.seq : -1]);
    const steps = stepsOf(model.header, slot);
    if (place.childElementCount === 0) {
      for (const [at, [, name]] of steps.entries()) {
        place.append(el('li', {}, el('b', {}, el('span', { text: `${at + 1} ${name}` }), el('span')), el('p')));
      }
    }
    if (form !== stepsFor) {
      stepsFor = form;
      steps.forEach(([, , words], at) => say(place.children[at].lastChild, words));
    }
    const have = slot ? reached(slot) : null;
    steps.forEach(([step], at) => {
      const node = place.children[at];
      const from = scale ? scale.xs[at] : Infinity;
      const to = scale ? (at === STEPS.length - 1 ? Infinity : scale.xs[at + 1]) : Infinity;
      const reachedBy = !slot || !open ? true : step === 'request' || have[step] > 0;
      // In a slot that hangs the step that it hangs at is the current one.
      const hangs = open && !reachedBy && (at === 0 || steps[at - 1][0] === 'request' || have[steps[at - 1][0]] > 0);
      const current = open
        ? hangs
        : upTo === Infinity
          ? at === STEPS.length - 1 && scale !== null
          : upTo >= from && upTo < to;
      if (current) mark(node, 'aria-current', 'step');
      else node.removeAttribute('aria-current');
      mark(node, 'data-done', open ? reachedBy : upTo >= to);
      const took = story && slot && !open && upTo >= from ? story.bounds[at + 1] - story.bounds[at] : null;
      say(node.firstChild.lastChild, took === null ? '' : duration(took));
    });
  }

  /** Whose votes one replica has counted so far. */
  function drawQuorums(slot, scale, upTo) {
    const { n, q } = model.header;
    const primary = story.primary;
    const id =
      look >= 0
        ? look
        : Math.max(
            0,
            slot.at.findIndex((lane, at) => lane && at !== primary && lane.committed !== null),
          );
    const lane = slot.at[id];
    const came = votes =>
      new Set(lane ? lane[votes].filter(vote => scale.x(vote.at) <= upTo).map(vote => vote.from) : []);
    const have = [
      ['PREPARE', came('prepares')],
      ['COMMIT', came('commits')],
    ];
    const form = JSON.stringify([n, id, ...have.map(([, from]) => [...from])]);
    if (form === quorumsFor) return;
    quorumsFor = form;
    const place = $('quorums');
    if (place.childElementCount !== 2 || place.firstChild.childElementCount !== n + 2) {
      place.replaceChildren(
        ...have.map(([kind]) => {
          const row = el('div', { class: 'quorum', 'data-kind': kind }, el('span'));
          for (let at = 0; at < n; at++) row.append(el('span', { class: 'vote', text: String(at) }));
          row.append(el('span'));
          return row;
        }),
      );
    }
    have.forEach(([kind, from], row) => {
      const node = place.children[row];
      say(node.firstChild, `${kind} at replica ${id}`);
      for (let at = 0; at < n; at++) {
        const vote = node.children[at + 1];
        if (from.has(at)) mark(vote, 'data-kind', kind);
        else vote.removeAttribute('data-kind');
      }
      say(node.lastChild, from.size >= q ? `✓ a quorum: ${q} are enough` : `${from.size} of ${q} that are needed`);
    });
  }

  function drawTable(slot) {
    if (!$('times').open) return;
    const hidden = unseen(model, slot, 'executed');
    const form = `${key} ${slot.changed} ${hidden}`;
    if (form === tableFor) return;
    tableFor = form;
    const since = at => (at === null ? '-' : duration(at - story.start));
    const head = [
      'replica',
      'request',
      'proposal',
      'prepared',
      'committed',
      'executed',
      'replied',
      'PREPAREs of',
      'COMMITs of',
    ];
    const rows = slot.at.map((lane, id) => [
      `replica ${id}${hidden.includes(id) ? ', not sampled' : ''}`,
      ...STEPS.map(step => (lane ? since(lane[step]) : '-')),
      ...['prepares', 'commits'].map(list =>
        lane && lane[list].length > 0 ? lane[list].map(vote => vote.from).join(' ') : '-',
      ),
    ]);
    $('times-table').replaceChildren(
      el('thead', {}, el('tr', {}, ...head.map(text => el('th', { scope: 'col', text })))),
      el(
        'tbody',
        {},
        ...rows.map(([name, ...cells]) =>
          el('tr', {}, el('th', { scope: 'row', text: name }), ...cells.map(text => el('td', { text }))),
        ),
      ),
    );
  }

  return {
    draw,
    step,
    again,
    reset,
    lookAt,
    setFollow,
    follows: () => follow,
    look: () => look,
    /** Whether the picture moves by itself. */
    isMoving: () => key !== null && ended === 0 && !still.matches,
  };
}
