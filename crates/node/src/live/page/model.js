// What is known of the cluster: the newest of everything, each kind with a bound. Moments come in, nothing is drawn here.

const KEEP = {
  replicas: 128,
  slots: 300,
  views: 64,
  load: 1500,
  marks: 300,
  events: 400,
  disagreements: 30,
  lines: 60,
  text: 600,
};

const isNumber = value => typeof value === 'number' && Number.isFinite(value);
const number = (value, otherwise = 0) => (isNumber(value) ? value : otherwise);
const time = value => (isNumber(value) ? value : null);
const text = value =>
  (typeof value === 'string' ? value : value === null || value === undefined ? '' : String(value)).slice(0, KEEP.text);
const array = value => (Array.isArray(value) ? value : []);

function newModel() {
  return {
    header: null,
    replicas: [],
    slots: new Map(),
    primaries: new Map(),
    load: [],
    marks: [],
    events: [],
    disagreements: new Map(),
    verdict: [],
    now: 0,
    view: -1,
    commits: false,
    // The highest slot that anybody executed, and when that grew last.
    progress: { executed: -1, at: 0 },
    // Grows with every change of its kind, so that whoever draws knows whether there is anything to do.
    changed: { slots: 0, events: 0, load: 0 },
    counted: 0,
  };
}

/** Takes one moment in; what is no moment, or of an unknown kind, is passed over. */
function accept(model, moment) {
  if (moment === null || typeof moment !== 'object') return;
  if (moment.kind === 'header') return acceptHeader(model, moment);
  if (!model.header) return;
  const t = number(moment.t);
  if (t > model.now) model.now = t;
  switch (moment.kind) {
    case 'replica':
      return acceptReplica(model, moment, t);
    case 'slot':
      return acceptSlot(model, moment);
    case 'load':
      return acceptLoad(model, moment, t);
    case 'event':
      return acceptEvent(model, moment, t);
    case 'disagreement':
      return acceptDisagreement(model, moment, t);
    case 'verdict':
      model.verdict = array(moment.lines).slice(0, KEEP.lines).map(text).filter(line => line.trim());
  }
}

function acceptHeader(model, moment) {
  const n = Math.min(KEEP.replicas, Math.max(1, Math.floor(number(moment.n, 4))));
  const f = number(moment.f, Math.floor((n - 1) / 3));
  model.header = {
    n,
    f,
    q: number(moment.q, Math.floor((n + f) / 2) + 1),
    source: text(moment.source),
    title: text(moment.title),
    control: moment.control === true,
    commands: array(moment.commands).slice(0, 20).map(text),
    behaviours: array(moment.behaviours).slice(0, 100).map(text),
    began: number(moment.began),
  };
  model.replicas = new Array(n).fill(null);
}

/** Whether this names one of the replicas. */
const isReplica = (model, id) => Number.isInteger(id) && id >= 0 && id < model.header.n;

function acceptReplica(model, moment, t) {
  if (!isReplica(model, moment.id)) return;
  const replica = {
    t,
    id: moment.id,
    up: moment.up !== false,
    state: text(moment.state) || 'normal',
    view: number(moment.view),
    primary: number(moment.primary),
    executed: number(moment.executed),
    committed: number(moment.committed),
    stable: number(moment.stable),
    low: number(moment.low),
    high: number(moment.high),
    links: array(moment.links)
      .slice(0, KEEP.replicas)
      .map(link => link !== false),
    behaviour: text(moment.behaviour),
    lies: number(moment.lies),
    alarms: number(moment.alarms),
    pending: number(moment.pending),
  };
  model.replicas[replica.id] = replica;
  if (replica.executed > model.progress.executed) model.progress = { executed: replica.executed, at: t };
  bounded(model.primaries, KEEP.views, replica.view, replica.primary);
  const view = workingView(model);
  if (view > model.view) {
    if (model.view >= 0)
      addMark(model, { t, kind: 'view', what: `view ${view}: ${primaryOf(model, view)} is the primary` });
    model.view = view;
  }
}

/** Puts something into a map that forgets what was put there first. */
function bounded(map, most, key, value) {
  map.set(key, value);
  if (map.size > most) map.delete(map.keys().next().value);
}

const votes = (model, list) =>
  array(list)
    .slice(0, model.header.n * 2)
    .filter(vote => Array.isArray(vote) && isReplica(model, vote[0]) && isNumber(vote[1]))
    .map(vote => ({ from: vote[0], at: vote[1], batch: text(vote[2]) }))
    .sort((a, b) => a.at - b.at);

function acceptSlot(model, moment) {
  if (!isReplica(model, moment.replica)) return;
  const [view, seq] = [number(moment.view), number(moment.seq)];
  const key = `${view}:${seq}`;
  let slot = model.slots.get(key);
  if (!slot) {
    slot = {
      key,
      view,
      seq,
      operations: 0,
      at: new Array(model.header.n).fill(null),
      changed: 0,
      seen: number(moment.t),
    };
    bounded(model.slots, KEEP.slots, key, slot);
  }
  slot.operations = Math.max(slot.operations, number(moment.operations));
  slot.at[moment.replica] = {
    batch: text(moment.batch),
    request: time(moment.request),
    proposed: time(moment.proposed),
    prepares: votes(model, moment.prepares),
    prepared: time(moment.prepared),
    commits: votes(model, moment.commits),
    otherwise: votes(model, moment.otherwise),
    committed: time(moment.committed),
    executed: time(moment.executed),
    replied: time(moment.replied),
  };
  slot.changed = ++model.changed.slots;
  if (time(moment.committed) !== null) model.commits = true;
}

function acceptLoad(model, moment, t) {
  model.load.push({
    t,
    rate: number(moment.per_second),
    p50: time(moment.p50_us),
    p99: time(moment.p99_us),
    done: number(moment.done),
    inFlight: number(moment.in_flight),
    failed: number(moment.failed),
  });
  if (model.load.length > KEEP.load) model.load.splice(0, KEEP.load / 5);
  model.changed.load++;
}

function addMark(model, found) {
  model.marks.push(found);
  if (model.marks.length > KEEP.marks) model.marks.splice(0, KEEP.marks / 5);
  model.changed.load++;
}

function acceptEvent(model, moment, t) {
  const weight = ['warning', 'alarm', 'deed'].includes(moment.weight) ? moment.weight : 'note';
  addEvent(model, {
    t,
    replica: isReplica(model, moment.replica) ? moment.replica : null,
    what: text(moment.what),
    weight,
  });
  if (weight === 'deed' || weight === 'alarm') addMark(model, { t, kind: weight, what: text(moment.what) });
}

function addEvent(model, event) {
  model.events.push({ ...event, id: ++model.counted });
  if (model.events.length > KEEP.events) model.events.splice(0, KEEP.events / 4);
  model.changed.events++;
}

function acceptDisagreement(model, moment, t) {
  if (!isReplica(model, moment.replica)) return;
  const about = text(moment.about);
  const key = `${moment.replica} ${about}`;
  const before = model.disagreements.get(key);
  const found = {
    t,
    replica: moment.replica,
    about,
    seq: number(moment.seq),
    says: text(moment.says),
    others: text(moment.others),
    times: before ? before.times + 1 : 1,
    first: before ? before.first : t,
  };
  bounded(model.disagreements, KEEP.disagreements, key, found);
  if (before) return;
  // Who votes for another batch may be the one that was lied to, and is so for a moment only.
  if (about === 'batch') {
    addEvent(model, {
      t,
      replica: found.replica,
      weight: 'warning',
      what: `votes for another batch in slot ${found.seq} than some others do`,
    });
    return;
  }
  addMark(model, { t, kind: 'alarm', what: `replica ${found.replica} disagrees` });
  addEvent(model, {
    t,
    replica: found.replica,
    weight: 'alarm',
    what: `disagrees with the others about ${aboutWhat(found)}`,
  });
}

const known = model => model.replicas.filter(replica => replica !== null);
const GONE = ['stopped', 'unreachable', 'halted'];
/** They are on their way from one view to another, or out of all of them. */
const LEAVING = ['changing view', 'stopping'];
const isUp = replica => replica !== null && replica.up && !GONE.includes(replica.state);
const upOnes = model => model.replicas.filter(isUp);

/** The highest view in which q replicas work, or else the one with most of them. */
function workingView(model) {
  const views = new Map();
  for (const replica of upOnes(model)) {
    if (!LEAVING.includes(replica.state)) views.set(replica.view, (views.get(replica.view) || 0) + 1);
  }
  let best = -1;
  for (const [view, there] of views) {
    const most = views.get(best) || 0;
    const [enough, had] = [there >= model.header.q, most >= model.header.q];
    if (enough !== had ? enough : enough ? view > best : there > most || (there === most && view > best)) best = view;
  }
  return best < 0 ? model.view : best;
}

const primaryOf = (model, view) => {
  const told = model.primaries.get(view);
  return told === undefined ? view % model.header.n : told;
};

/** Groups of replicas that are linked with each other, the largest first. */
function groups(model) {
  const left = new Set(upOnes(model).map(replica => replica.id));
  const found = [];
  const linked = (a, b) => model.replicas[a].links[b] !== false && model.replicas[b].links[a] !== false;
  while (left.size > 0) {
    const group = [];
    const next = [left.values().next().value];
    left.delete(next[0]);
    while (next.length > 0) {
      const one = next.pop();
      group.push(one);
      for (const other of [...left]) {
        if (linked(one, other)) {
          left.delete(other);
          next.push(other);
        }
      }
    }
    found.push(group.sort((a, b) => a - b));
  }
  return found.sort((a, b) => b.length - a.length);
}

/** How far a slot has come: how many replicas have proposed, prepared, committed, executed and replied. */
function reached(slot) {
  const have = { proposed: 0, prepared: 0, committed: 0, executed: 0, replied: 0 };
  for (const lane of slot.at) {
    if (lane) for (const step of Object.keys(have)) if (lane[step] !== null) have[step]++;
  }
  return have;
}

/** Of whom it was not seen that they took a step, though they are beyond this slot: of many slots each shows a sample. */
const unseen = (model, slot, step) =>
  model.replicas
    .map((replica, id) => (!slot.at[id] && replica !== null && replica[step] >= slot.seq ? id : -1))
    .filter(id => id >= 0);

/** Votes for another batch than the one that was committed: whose, before whom, when, and whether that one voted for the
 * right one, too. What somebody prepared and committed is what everybody commits, in whatever view. */
function strays(model, slot) {
  const done = [slot, ...model.slots.values()]
    .filter(other => other.seq === slot.seq)
    .flatMap(other => other.at)
    .find(lane => lane && lane.prepared !== null && lane.committed !== null);
  const right = slot.at.filter(lane => lane && done && lane.batch === done.batch);
  // A new view may have put another batch in the place of one that everybody had voted for.
  if (right.length === 0 || done.batch === '') return [];
  const found = slot.at.flatMap((lane, to) => {
    if (!lane) return [];
    const votes = lane.batch === done.batch ? [] : [...lane.prepares, ...lane.commits];
    return [...votes, ...lane.otherwise.filter(vote => vote.batch !== done.batch)].map(({ from, at }) => ({ from, at, to }));
  });
  return found.map(vote => ({
    ...vote,
    twice: right.some(lane => lane.prepares.some(({ from }) => from === vote.from)),
  }));
}

const told = slot => slot.at.reduce((sum, lane) => sum + (lane ? 1 : 0), 0);

/** The slots that most replicas tell of, and those that are open, the newest first. Each replica also tells of slots that
 * were slow for it alone. */
function newestFirst(model) {
  const half = model.header.source === 'replica' ? 0 : upOnes(model).length / 2;
  return [...model.slots.values()]
    .filter(slot => told(slot) > half || openFor(model, slot) !== null)
    .sort((a, b) => b.seq - a.seq || b.view - a.view);
}

/** How many replicas must have committed a slot until it is decided, as far as can be seen: one that shows itself alone
 * has counted the votes of q. */
const enough = model => (model.header.source === 'replica' ? 1 : model.header.q);

/** Whether everybody who is up has told all of this slot. */
function isSettled(model, slot) {
  const have = reached(slot);
  return have.committed >= enough(model) && have.executed >= Math.min(upOnes(model).length, model.header.n);
}

/** How long a slot is open already; nothing if it is decided: q replicas committed it, or somebody executed it, whether
 * or not that one tells of this slot. */
function openFor(model, slot) {
  if (reached(slot).committed >= enough(model) || slot.seq <= model.progress.executed) return null;
  const begun = slot.at.reduce(
    (least, lane) => (lane && lane.proposed !== null ? Math.min(least, lane.proposed) : least),
    Infinity,
  );
  return begun === Infinity ? Math.max(0, model.now - slot.seen) : Math.max(0, model.now - begun);
}

/** The slot worth looking at: the newest, unless that is still being told of; one that hangs is shown, not hidden. */
function slotToShow(model) {
  const all = newestFirst(model);
  if (all.length === 0) return null;
  if (openFor(model, all[0]) > 1e6 && all[0].seq > model.progress.executed) return all[0];
  return (
    all.slice(0, 40).find(slot => isSettled(model, slot)) ||
    all.slice(0, 40).find(slot => reached(slot).committed >= enough(model)) ||
    all[0]
  );
}
