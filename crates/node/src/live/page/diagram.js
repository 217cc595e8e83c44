// One agreement as a picture: time goes to the right, a lane for each replica, messages between them. What takes a
// millisecond is shown in seconds, and every step gets room, however short it was; the numbers say how long it took.

const STEPS = ['request', 'proposed', 'prepared', 'committed', 'executed', 'replied'];
const STEP_INK = {
  request: 'wait',
  proposed: 'wait',
  prepared: 'prepare',
  committed: 'commit',
  executed: 'execute',
  replied: 'reply',
};
const STEP_NAMES = ['request', 'pre-prepare', 'prepare', 'commit', 'execute', 'reply'];
const TOP = 40,
  CLIENTS = 30,
  BOTTOM = 22,
  EDGE = 10;
/** How long the slow motion takes, and how long its end stays, in milliseconds. */
const SHOW = { run: 5200, rest: 2600 };

const laneHeight = n => (n <= 4 ? 66 : n <= 7 ? 48 : n <= 13 ? 30 : 20);

const middle = list => {
  const sorted = list.filter(value => value !== null).sort((a, b) => a - b);
  return sorted.length === 0 ? null : sorted[Math.floor((sorted.length - 1) / 2)];
};

/** Everything to draw of a slot, with times; made once for each state of a slot. */
function storyOf(model, slot) {
  const lanes = slot.at;
  const each = step => lanes.map(lane => (lane ? lane[step] : null));
  const least = list => list.reduce((low, value) => (value !== null && value < low ? value : low), Infinity);
  const most = list => list.reduce((high, value) => (value !== null && value > high ? value : high), -Infinity);
  const everything = lanes.flatMap(lane =>
    lane
      ? [
          lane.request,
          lane.proposed,
          lane.prepared,
          lane.committed,
          lane.executed,
          lane.replied,
          ...lane.prepares.map(vote => vote.at),
          ...lane.commits.map(vote => vote.at),
        ]
      : [],
  );
  const proposed = least(each('proposed'));
  const asked = least(each('request').filter(value => value === null || value <= proposed));
  const start = Math.min(asked, proposed, least(everything));
  const end = Math.max(most(everything), start + 1);
  // Where one step ends and the next begins, for most replicas.
  const ends = [
    Math.min(proposed, end),
    middle(each('proposed')),
    middle(each('prepared')),
    middle(each('committed')),
    middle(each('executed')),
    end,
  ];
  const bounds = [start];
  for (const value of ends)
    bounds.push(Math.max(bounds[bounds.length - 1], value === null || !Number.isFinite(value) ? end : value));
  return {
    slot,
    changed: slot.changed,
    start,
    end,
    bounds,
    messages: messagesOf(model, slot),
    believed: believedAt(model, slot),
    primary: primaryOf(model, slot.view),
  };
}

/** When f+1 replicas had answered. */
function believedAt(model, slot) {
  const answers = slot.at
    .map(lane => (lane ? lane.replied : null))
    .filter(at => at !== null)
    .sort((a, b) => a - b);
  return answers.length > model.header.f ? answers[model.header.f] : null;
}

/** Who sent what to whom: from is -1 for clients. When something was sent its sender tells, if it tells of this slot. */
function messagesOf(model, slot) {
  const primary = primaryOf(model, slot.view);
  const found = [];
  const own = (id, list, step) => {
    const lane = slot.at[id];
    if (!lane) return null;
    const vote = lane[list].find(vote => vote.from === id);
    return vote ? vote.at : lane[step];
  };
  const add = (kind, from, to, sent, came) =>
    found.push({ kind, from, to, sent: sent === null ? null : Math.min(sent, came), came });
  slot.at.forEach((lane, id) => {
    if (!lane) return;
    if (lane.request !== null) add('request', -1, id, null, lane.request);
    const proposer = slot.at[primary];
    if (lane.proposed !== null && id !== primary)
      add('proposed', primary, id, proposer ? proposer.proposed : null, lane.proposed);
    for (const vote of lane.prepares) {
      // The primary's proposal is its vote: it is drawn as the proposal.
      if (vote.from !== id && vote.from !== primary)
        add('prepared', vote.from, id, own(vote.from, 'prepares', 'proposed'), vote.at);
    }
    for (const vote of lane.commits)
      if (vote.from !== id) add('committed', vote.from, id, own(vote.from, 'commits', 'prepared'), vote.at);
    if (lane.replied !== null) add('replied', id, -1, lane.replied, lane.replied);
  });
  return found;
}

/** From time to place: between two bounds evenly, and each step has some room. */
function scaleOf(story, width) {
  const parts = STEPS.map((_, at) => story.bounds[at + 1] - story.bounds[at]);
  const whole = parts.reduce((sum, part) => sum + part, 0) || 1;
  const shares = parts.map(part => 0.62 / STEPS.length + 0.38 * (part / whole));
  const xs = [EDGE + 6];
  const room = width - 2 * EDGE - 30;
  for (const share of shares) xs.push(xs[xs.length - 1] + share * room);
  const x = t => {
    for (let at = 0; at < STEPS.length; at++) {
      const [from, to] = [story.bounds[at], story.bounds[at + 1]];
      if (t <= to || at === STEPS.length - 1) {
        return to > from
          ? xs[at] + Math.min(1, Math.max(0, (t - from) / (to - from))) * (xs[at + 1] - xs[at])
          : t <= from
            ? xs[at]
            : xs[at + 1];
      }
    }
    return xs[STEPS.length];
  };
  return { x, xs, end: xs[STEPS.length] + 24 };
}

/**
 * Draws a story up to the place `upTo` (none: all of it). `look` is the replica whose messages stand out, or -1.
 */
function drawStory(canvas, model, story, { upTo = Infinity, look = -1 } = {}) {
  const n = model.header.n;
  const lane = laneHeight(n);
  const { pen, width, height } = sheet(canvas, TOP + CLIENTS + n * lane + BOTTOM);
  if (width < 40) return null;
  const scale = scaleOf(story, width);
  const y = id => (id < 0 ? TOP + CLIENTS / 2 : TOP + CLIENTS + id * lane + lane / 2);
  drawColumns(pen, story, scale, { width, height, upTo });
  pen.strokeStyle = ink.edge;
  pen.lineWidth = 1;
  for (let id = -1; id < n; id++) {
    pen.globalAlpha = id >= 0 && !isUp(model.replicas[id]) && !story.slot.at[id] ? 0.3 : 1;
    pen.setLineDash(id < 0 ? [2, 3] : []);
    pen.beginPath();
    pen.moveTo(EDGE, y(id) + (id < 0 ? 0 : lane * 0.36));
    pen.lineTo(width - EDGE, y(id) + (id < 0 ? 0 : lane * 0.36));
    pen.stroke();
  }
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  for (let id = 0; id < n; id++) drawLane(pen, model, story, { id, y: y(id), lane, scale, upTo });
  drawMessages(pen, model, story, { y, lane, scale, upTo, look });
  drawClients(pen, model, story, { y: y(-1), scale, upTo, width });
  if (upTo < scale.end) {
    pen.fillStyle = ink.link;
    pen.fillRect(upTo, TOP - 4, 1.5, height - TOP - BOTTOM + 8);
  }
  return scale;
}

function drawColumns(pen, story, scale, { width, height, upTo }) {
  let labelled = -Infinity;
  for (let at = 0; at < STEPS.length; at++) {
    const [from, to] = [scale.xs[at], at === STEPS.length - 1 ? width - EDGE : scale.xs[at + 1]];
    const on = upTo >= from;
    if (at % 2 === 1) {
      pen.fillStyle = ink.soft;
      pen.fillRect(from, TOP - 22, to - from, height - TOP - BOTTOM + 22);
    }
    const room = to - from;
    const name = `${at + 1} ${STEP_NAMES[at]}`;
    const fits = room > name.length * 6.1;
    write(pen, fits ? name : String(at + 1), (from + to) / 2, 12, {
      size: 11.5,
      align: 'center',
      colour: on ? ink.text : ink.faint,
      bold: on && upTo < (at === STEPS.length - 1 ? Infinity : to) && upTo !== Infinity,
    });
    // How long after the beginning this step was over.
    const since = duration(story.bounds[at + 1] - story.start);
    const place = at === STEPS.length - 1 ? scale.xs[at + 1] : to;
    if (place - labelled > 56 && place < width - 12) {
      write(pen, since, place, height - BOTTOM / 2, { size: 11, align: 'center', colour: ink.faint });
      labelled = place;
    }
  }
}

/** The lane of one replica: a stair that rises with each vote up to the quorum, once for PREPARE and once for COMMIT. */
function drawLane(pen, model, story, { id, y, lane, scale, upTo }) {
  const told = story.slot.at[id];
  const base = y + lane * 0.36,
    tall = lane * 0.72;
  const q = model.header.q;
  if (!told) {
    const words =
      model.header.source === 'replica'
        ? 'seen by its votes only'
        : unseen(model, story.slot, 'executed').includes(id)
          ? 'has executed it; not sampled here'
          : isUp(model.replicas[id])
            ? 'told nothing of this slot'
            : 'gone';
    if (upTo > scale.xs[1]) write(pen, words, EDGE + 12, y, { size: 11, colour: ink.faint });
    return;
  }
  const bar = (from, to, share, colour) => {
    const left = scale.x(from),
      right = Math.min(scale.x(to), upTo);
    if (right <= left) return;
    pen.fillStyle = ink[colour];
    pen.fillRect(left, base - tall * share, right - left, tall * share);
  };
  const until = (...times) => times.find(time => time !== null && time !== undefined) ?? story.end;
  const begun = told.request !== null && (told.proposed === null || told.request < told.proposed) ? told.request : null;
  if (begun !== null) bar(begun, until(told.proposed, told.committed), 0.18, 'wait');
  const stair = (list, from, to, colour) => {
    if (from === null) return;
    const counted = new Set();
    let since = from;
    for (const vote of list) {
      if (counted.has(vote.from) || counted.size >= q || vote.at > to) continue;
      if (counted.size > 0) bar(since, vote.at, counted.size / q, colour);
      counted.add(vote.from);
      since = Math.max(from, vote.at);
    }
    if (counted.size > 0) bar(since, to, Math.min(1, counted.size / q), colour);
    // How high it must become.
    const [left, right] = [scale.x(from), Math.min(scale.x(to), upTo)];
    if (right > left) {
      pen.strokeStyle = ink[colour];
      pen.lineWidth = 1;
      pen.setLineDash([3, 2]);
      pen.strokeRect(left + 0.5, base - tall + 0.5, right - left - 1, tall - 1);
      pen.setLineDash([]);
    }
  };
  const prepared = until(told.prepared, told.committed);
  stair(told.prepares, told.proposed, prepared, 'prepare');
  stair(told.commits, told.prepared, until(told.committed, null), 'commit');
  if (told.committed !== null) bar(told.committed, until(told.executed), 0.55, 'execute');
  if (told.executed !== null) bar(told.executed, until(told.replied, told.executed), 0.55, 'reply');
  const letter = (time, word, colour) => {
    const x = time === null ? Infinity : scale.x(time);
    if (x > upTo) return;
    const size = lane > 25 ? 7.5 : 5.5;
    pen.fillStyle = ink.paper;
    pen.strokeStyle = ink[colour];
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.arc(x, base - tall / 2, size, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
    write(pen, word, x, base - tall / 2 + 0.5, {
      size: lane > 25 ? 10 : 8,
      align: 'center',
      bold: true,
      colour: ink[colour],
    });
  };
  letter(told.prepared, 'P', 'prepare');
  letter(told.committed, 'C', 'commit');
  letter(told.executed, 'E', 'execute');
  for (const vote of story.strays) if (vote.to === id) letter(vote.at, '≠', 'bad');
}

/** Of many replicas only the messages of one are drawn: a thousand lines tell nobody anything. */
function drawMessages(pen, model, story, { y, lane, scale, upTo, look }) {
  const crowded = model.header.n > 7;
  const centre = look >= 0 ? look : story.primary;
  for (const message of story.messages) {
    const { kind, from, to, came } = message;
    const mine = look >= 0 && (from === look || to === look);
    if (crowded && from >= 0 && to >= 0 && from !== centre && to !== centre) continue;
    let x2 = scale.x(came);
    let x1 = message.sent === null ? x2 - 14 : Math.min(scale.x(message.sent), x2);
    if (to < 0) x2 = x1 + 16;
    if (x1 > upTo) continue;
    const [y1, y2] = [y(from), y(to)];
    const part = x2 > x1 ? Math.min(1, (upTo - x1) / (x2 - x1)) : 1;
    const under = part < 1;
    pen.strokeStyle = ink[kind === 'request' ? 'faint' : kind === 'proposed' ? 'text' : STEP_INK[kind]];
    pen.globalAlpha = under ? 1 : mine ? 0.95 : look >= 0 ? 0.13 : kind === 'proposed' ? 0.8 : 0.5;
    pen.lineWidth = mine || kind === 'proposed' ? 1.6 : 1;
    pen.setLineDash(message.sent === null ? [3, 3] : []);
    const [xe, ye] = [x1 + (x2 - x1) * part, y1 + (y2 - y1) * part];
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(xe, ye);
    pen.stroke();
    pen.fillStyle = pen.strokeStyle;
    if (under) {
      pen.beginPath();
      pen.arc(xe, ye, lane > 25 ? 4 : 3, 0, 2 * Math.PI);
      pen.fill();
    } else {
      arrow(pen, x1, y1, xe, ye);
    }
  }
  pen.globalAlpha = 1;
  pen.setLineDash([]);
}

function arrow(pen, x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  pen.beginPath();
  pen.moveTo(x2, y2);
  pen.lineTo(x2 - 6 * Math.cos(angle - 0.4), y2 - 6 * Math.sin(angle - 0.4));
  pen.lineTo(x2 - 6 * Math.cos(angle + 0.4), y2 - 6 * Math.sin(angle + 0.4));
  pen.fill();
}

function drawClients(pen, model, story, { y, scale, upTo, width }) {
  if (story.believed === null) return;
  const x = scale.x(story.believed) + 16;
  if (x > upTo) return;
  const words = `believed: ${model.header.f + 1} answers`;
  const right = x + words.length * 6 + 12 < width;
  pen.fillStyle = ink.reply;
  pen.beginPath();
  pen.arc(x, y, 4.5, 0, 2 * Math.PI);
  pen.fill();
  write(pen, words, right ? x + 9 : x - 9, y - 9, { size: 11, align: right ? 'left' : 'right', colour: ink.text });
}

/** In words, for whoever does not see the picture. */
function storyInWords(model, story) {
  const { slot, primary } = story;
  const have = reached(slot);
  const { n } = model.header;
  const took =
    have.committed >= enough(model) ? ` It took ${duration(story.bounds[4] - story.bounds[0])} to commit.` : '';
  return (
    `Slot ${slot.seq} in view ${slot.view}, ${many(slot.operations, 'operation')}. Replica ${primary} is the primary. ` +
    `${told(slot)} of ${n} replicas tell of it: ${have.proposed} saw the proposal, ${have.prepared} prepared, ${have.committed} committed, ${have.executed} executed, ${have.replied} replied.${took} ${straysInWords(model, story.strays)}`
  );
}
