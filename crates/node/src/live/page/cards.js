// A card for each replica: where it stands, to whom it is linked, how it behaves, and what can be done to it.

/** More replicas than this get cards of a few words. */
const MANY = 7;

function cardsOf(act) {
  const place = $('cards');
  let cards = [],
    made = '';

  function make(header, id) {
    const card = { links: [] };
    card.name = el('h3', { text: `Replica ${id}`, id: `replica-${id}` });
    card.crown = el('span', { class: 'crown', text: '♛' }, el('span', { text: ' primary' }));
    card.state = el('span', { class: 'state' });
    card.where = el('p');
    card.window = shape('rect', { class: 'window', x: 0, y: 2, width: 100, height: 10 });
    card.due = shape('rect', { class: 'due', x: 0, y: 2, width: 0, height: 10 });
    card.done = shape('rect', { class: 'done', x: 0, y: 2, width: 0, height: 10 });
    card.marks = shape(
      'svg',
      { class: 'marks', viewBox: '0 0 100 14', preserveAspectRatio: 'none', role: 'img' },
      card.window,
      card.due,
      card.done,
    );
    [card.low, card.mid, card.high] = [el('span'), el('span'), el('span')];
    card.linked = el('p', { class: 'links' });
    card.lies = el('p', { class: 'lies' });
    card.alarms = alarmsButton();
    card.node = el(
      'article',
      { class: 'card', 'data-replica': id, 'aria-labelledby': `replica-${id}` },
      el('header', {}, card.name, card.crown, card.state),
      card.where,
      card.marks,
      el('p', { class: 'ends' }, card.low, card.mid, card.high),
      card.linked,
      card.lies,
      card.alarms,
    );
    card.linkWords = el('span', { text: 'links' });
    card.linked.append(card.linkWords);
    for (let other = 0; other < header.n; other++) {
      const dot = el('span');
      card.links.push(dot);
      if (other !== id) card.linked.append(dot);
    }
    if (header.control) card.node.append(deeds(card, header, id));
    place.append(card.node);
    return card;
  }

  /** What can be done to one replica, and what came of it. */
  function deeds(card, header, id) {
    const can = command => header.commands.includes(command);
    const said = el('output', { 'aria-label': `What came of it at replica ${id}` });
    const row = el('div', { class: 'deeds', role: 'group', 'aria-label': `Do something to replica ${id}` });
    const button = (command, word, label) =>
      el('button', {
        type: 'button',
        text: word,
        'data-do': command,
        'aria-label': label,
        onclick: () => act({ command, replica: id }, said),
      });
    if (can('kill')) row.append((card.kill = button('kill', 'Kill', `Kill replica ${id}`)));
    if (can('restart')) row.append((card.restart = button('restart', 'Restart', `Restart replica ${id}`)));
    if (can('behave') && header.behaviours.length > 0) {
      const menu = el(
        'select',
        { 'aria-label': `How replica ${id} is to behave` },
        el('option', { value: '', text: 'honest' }),
      );
      for (const name of header.behaviours) menu.append(el('option', { value: name, text: name }));
      card.behave = el('button', {
        type: 'button',
        text: 'Behave',
        'data-do': 'behave',
        'aria-label': `Have replica ${id} behave so`,
        onclick: () => act({ command: 'behave', replica: id, behaviour: menu.value || null }, said),
      });
      card.menu = menu;
      row.append(el('span', { class: 'pair' }, menu, card.behave));
    }
    row.append(said);
    return row;
  }

  return {
    /** `can`: whether somebody does what is asked for. */
    draw(model, can) {
      const { header } = model;
      const form = JSON.stringify([header.n, header.control, header.commands, header.behaviours]);
      if (form !== made) {
        made = form;
        place.replaceChildren();
        place.classList.toggle('many', header.n > MANY);
        cards = model.replicas.map((_, id) => make(header, id));
      }
      const up = upOnes(model);
      const most = up.reduce((high, replica) => Math.max(high, replica.executed), 0);
      const view = workingView(model);
      cards.forEach((card, id) => drawCard(card, model, { id, most, view, can }));
    },
  };
}

function drawCard(card, model, { id, most, view, can }) {
  const replica = model.replicas[id];
  const up = isUp(replica);
  // One replica's own page knows of the others only what their votes show.
  show(card.node, replica !== null || model.header.source !== 'replica');
  const primary = up && view >= 0 && primaryOf(model, view) === id && replica.view === view;
  mark(card.node, 'data-up', up);
  mark(card.node, 'data-primary', primary);
  mark(card.node, 'data-state', replica ? replica.state : 'unknown');
  show(card.crown, primary);
  // One that is not heard may run all the same.
  const stopped = replica !== null && replica.state === 'stopped';
  if (card.kill) card.kill.disabled = !can || !replica || stopped;
  if (card.restart) card.restart.disabled = !can || !stopped;
  if (card.behave) card.behave.disabled = card.menu.disabled = !can || !up;
  if (!replica) {
    say(card.state, 'not heard of');
    card.state.removeAttribute('data-level');
    for (const node of [card.where, card.low, card.mid, card.high]) say(node, '');
    for (const name of ['view', 'executed', 'cut', 'lying', 'lies']) delete card.node.dataset[name];
    for (const node of [card.marks, card.linked, card.lies, card.alarms]) show(node, false);
    return;
  }
  const [level, sign, word] = STATES[replica.state] || ['warn', '?', replica.state];
  say(card.state, `${sign} ${up || replica.state !== 'normal' ? word : 'stopped'}`);
  mark(card.state, 'data-level', up ? level : 'bad');
  const lag = most - replica.executed;
  const alone = known(model).length === 1;
  say(
    card.where,
    `view ${replica.view} · executed ${count(replica.executed)}${!up || alone ? '' : lag < 3 ? ' · in step' : ` · ${count(lag)} behind`}`,
  );
  mark(card.node, 'data-view', replica.view);
  mark(card.node, 'data-executed', replica.executed);
  show(card.marks, true);
  const room = Math.max(1, replica.high - replica.low);
  const share = seq => Math.min(100, Math.max(0, ((seq - replica.low) / room) * 100));
  mark(card.due, 'width', share(Math.max(replica.committed, replica.executed)).toFixed(1));
  mark(card.done, 'width', share(replica.executed).toFixed(1));
  mark(
    card.marks,
    'aria-label',
    `Watermarks: low ${replica.low}, executed ${replica.executed}, committed ${replica.committed}, high ${replica.high}`,
  );
  say(card.low, `low ${count(replica.low)}`);
  say(
    card.mid,
    replica.committed > replica.executed
      ? `committed ${count(replica.committed)}`
      : replica.pending > 0
        ? `${short(replica.pending)} pending`
        : '',
  );
  say(card.high, `high ${count(replica.high)}`);
  const cut = [];
  show(card.linked, up && replica.links.length > 0);
  // Of many only those are named that it does not hear.
  const crowded = card.links.length > MANY;
  card.links.forEach((dot, other) => {
    const linked = replica.links[other] !== false;
    if (!linked && other !== id) cut.push(other);
    say(dot, linked ? `●${other}` : `✕${other}`);
    mark(dot, 'class', linked ? '' : 'cut');
    show(dot, !crowded || !linked);
  });
  say(
    card.linkWords,
    cut.length > 0
      ? crowded
        ? 'no link to'
        : 'links missing:'
      : crowded
        ? `links to all ${card.links.length - 1} others`
        : 'links',
  );
  mark(card.node, 'data-cut', cut.length);
  const { behaviour } = replica;
  show(card.lies, behaviour !== '' || replica.lies > 0);
  say(
    card.lies,
    behaviour !== ''
      ? `☠ lies on purpose: ${behaviour}, ${many(replica.lies, 'lie')} told`
      : `honest again, after ${many(replica.lies, 'lie')}`,
  );
  mark(card.node, 'data-lying', behaviour !== '');
  mark(card.node, 'data-lies', replica.lies);
  show(card.alarms, replica.alarms > 0);
  say(card.alarms, `! ${many(replica.alarms, 'alarm')} raised`);
}
