// The newest slots: a row for each, in which every replica has a lane of five steps that fill as votes arrive.

const ROWS = 11;

function slotList(onChoose) {
  const list = $('slots');
  const rows = [];
  let shown = [],
    chosen = null;

  function row(at) {
    const canvas = el('canvas', { 'aria-hidden': 'true' });
    const [name, ops, how, took] = [el('b'), el('small'), el('b'), el('small')];
    const node = el(
      'div',
      { class: 'slot', role: 'option', id: `slot-${at}`, 'aria-selected': 'false', onclick: () => choose(at) },
      el('span', {}, name, ops),
      canvas,
      el('span', { class: 'how' }, how, took),
    );
    list.append(node);
    return { node, canvas, name, ops, how, took, drawn: '' };
  }

  function choose(at) {
    if (shown[at]) onChoose(shown[at]);
  }

  list.addEventListener('keydown', event => {
    const at = shown.findIndex(slot => slot.key === chosen);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(Math.min(shown.length - 1, Math.max(0, to)));
  });

  return {
    /** Whoever holds the picture sees the same rows until it goes on. */
    draw(model, slots, key, { anew, apart }) {
      shown = slots.slice(0, ROWS);
      chosen = key;
      while (rows.length < shown.length) rows.push(row(rows.length));
      rows.forEach((one, at) => {
        const slot = shown[at];
        show(one.node, slot !== undefined);
        if (!slot) return;
        mark(one.node, 'aria-selected', slot.key === key);
        mark(one.node, 'data-apart', apart && at === ROWS - 1);
        const width = one.canvas.clientWidth;
        const odd = straysInWords(model, strays(model, slot));
        const state = `${slot.key} ${slot.changed} ${width} ${openFor(model, slot) === null ? '' : model.now} ${howFar(model, slot)} ${odd}`;
        if (one.drawn === state && !anew) return;
        one.drawn = state;
        fill(model, one, slot, odd);
      });
      const active = shown.findIndex(slot => slot.key === key);
      if (active >= 0) mark(list, 'aria-activedescendant', `slot-${active}`);
      else list.removeAttribute('aria-activedescendant');
    },
  };
}

/** One row; `odd` says who voted for another batch. */
function fill(model, { node, canvas, name, ops, how, took }, slot, odd) {
  const open = openFor(model, slot);
  say(name, `slot ${count(slot.seq)}${odd === '' ? '' : ' ≠'}`);
  mark(node, 'title', odd);
  say(
    ops,
    `view ${slot.view}, ${slot.operations === 0 ? 'empty' : `${count(slot.operations)} op${slot.operations === 1 ? '' : 's'}`}`,
  );
  const [words, hidden] = howFar(model, slot);
  say(how, words);
  const story = open === null ? storyOf(model, slot) : null;
  const time = `${hidden}${hidden && ', '}${story ? duration(story.bounds[4] - story.bounds[0]) : `for ${duration(open)}`}`;
  say(took, time);
  mark(node, 'data-open', open !== null && open > 5e5);
  mark(node, 'data-committed', reached(slot).committed >= enough(model));
  mark(node, 'data-slot', slot.seq);
  mark(
    node,
    'aria-label',
    `Slot ${slot.seq}, view ${slot.view}, ${many(slot.operations, 'operation')}: ${words}, ${time}. ${odd}`,
  );
  lanes(model, canvas, slot);
}

function lanes(model, canvas, slot) {
  const { n, q } = model.header;
  const { pen, width, height } = sheet(canvas);
  const pitch = height / n;
  const tall = Math.max(0.8, pitch - (n > 12 ? 0.3 : 1.6));
  const parts = [
    ['wait', 0.12],
    ['prepare', 0.3],
    ['commit', 0.3],
    ['execute', 0.14],
    ['reply', 0.14],
  ];
  slot.at.forEach((lane, id) => {
    let x = 0;
    parts.forEach(([colour, share], at) => {
      const room = width * share - 2;
      pen.fillStyle = ink.rule;
      pen.fillRect(x, id * pitch, room, tall);
      const done = !lane
        ? 0
        : [
            lane.proposed !== null || lane.committed !== null ? 1 : 0,
            lane.prepared !== null || lane.committed !== null ? 1 : Math.min(1, lane.prepares.length / q),
            lane.committed !== null ? 1 : Math.min(1, lane.commits.length / q),
            lane.executed !== null ? 1 : 0,
            lane.replied !== null ? 1 : 0,
          ][at];
      pen.fillStyle = ink[colour];
      pen.fillRect(x, id * pitch, room * done, tall);
      x += width * share;
    });
  });
}
