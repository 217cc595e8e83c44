// A recording: its bytes stay as they are, with the place, time and kind of each line. Lines become objects when they are
// played, so that a file of a quarter of a gigabyte needs little more than that, and jumping about in it is quick.

const FILE_BYTES_MAX = 256 * 1024 * 1024;
const KINDS = ['other', 'header', 'replica', 'slot', 'load', 'event', 'disagreement', 'verdict'];
/** How many of each kind are taken in after a jump, besides the last word of each replica. */
const LOOK_BACK = { replica: 2000, slot: 1500, load: 3, event: 300, disagreement: 200, verdict: 1 };
const SPEEDS = [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30];

/** Where each line begins, its time and its kind; throws in words if this is no recording. */
function readRecording(bytes) {
  const decoder = new TextDecoder();
  const line = (from, to) => decoder.decode(bytes.subarray(from, to));
  let from = 0;
  let lines = 0;
  for (let at = 0; at < bytes.length; at++) if (bytes[at] === 10) lines++;
  const starts = new Float64Array(lines + 2),
    times = new Float64Array(lines + 1),
    kinds = new Uint8Array(lines + 1),
    ids = new Uint16Array(lines + 1);
  let filled = 0,
    header = null,
    broken = 0;
  while (from < bytes.length) {
    let to = bytes.indexOf(10, from);
    if (to < 0) to = bytes.length;
    const head = line(from, Math.min(to, from + 80)).trim();
    if (head !== '') {
      const known = /^\{"t":(\d+),"kind":"(\w+)"/.exec(head) || turned(head);
      const id = /"id":(\d+)/.exec(head);
      let [t, kind, of] = known ? [Number(known[1]), known[2], id && id[1]] : [NaN, '', 0];
      if (!known) {
        try {
          const moment = JSON.parse(line(from, to));
          [t, kind, of] = [number(moment.t), moment.kind, number(moment.id)];
        } catch {
          broken++;
          kind = null;
        }
      }
      if (!header && kind === 'header') header = JSON.parse(line(from, to));
      if (kind !== null) {
        [starts[filled], times[filled], kinds[filled]] = [from, t, Math.max(0, KINDS.indexOf(kind))];
        ids[filled] = of;
        filled++;
      }
    }
    from = to + 1;
  }
  starts[filled] = bytes.length + 1;
  if (!header)
    throw new Error(
      'This is no recording of Quorate: its first line is no header. Make one with `quorate testbed --record FILE` or `quorate simulate --record FILE`.',
    );
  return {
    bytes,
    header,
    broken,
    order: inOrder(times, filled),
    starts,
    times,
    kinds,
    ids,
    moment: at => JSON.parse(line(starts[at], starts[at + 1])),
  };
}

/** The other order of the first two fields. */
function turned(head) {
  const found = /^\{"kind":"(\w+)","t":(\d+)/.exec(head);
  return found ? [found[0], found[2], found[1]] : null;
}

/** Lines by time: those of several replicas come a little out of order. */
function inOrder(times, filled) {
  const order = new Uint32Array(filled);
  let sorted = true;
  for (let at = 0; at < filled; at++) {
    order[at] = at;
    if (at > 0 && times[at] < times[at - 1]) sorted = false;
  }
  return sorted ? order : order.sort((a, b) => times[a] - times[b] || a - b);
}

/** Plays a recording into models: `onAnew` gives a fresh one, `onMoments` fills it. */
function playerOf(recording, { onAnew, onMoments, onEnd }) {
  const { order, times, kinds, ids } = recording;
  const last = order.length;
  const at = place => times[order[place]];
  const end = last > 0 ? at(last - 1) : 0;
  const overview = readOverview(recording);
  let place = 0,
    now = 0,
    playing = false,
    speed = 1;

  const moment = where => {
    try {
      return recording.moment(order[where]);
    } catch {
      return null;
    }
  };

  /** The first place after a time. */
  function after(t) {
    let [low, high] = [0, last];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at(middle) <= t) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Jumps: takes in what would still be remembered there. */
  function seek(t) {
    now = Math.min(end, Math.max(0, t));
    place = after(now);
    const room = KINDS.map(kind => LOOK_BACK[kind] || 0);
    const stand = KINDS.indexOf('replica');
    const heard = new Set();
    const taken = [];
    for (let where = place - 1; where >= 0; where--) {
      const line = order[where];
      const kind = kinds[line];
      const isLast = kind === stand && !heard.has(ids[line]);
      if (room[kind] <= 0 && !isLast) continue;
      if (kind === stand) heard.add(ids[line]);
      room[kind]--;
      taken.push(where);
    }
    onAnew();
    onMoments([recording.header, ...taken.reverse().map(moment)], 0);
  }

  return {
    overview,
    end,
    now: () => now,
    isPlaying: () => playing,
    isOver: () => place >= last && now >= end,
    play(on) {
      if (on && place >= last) seek(0);
      playing = on;
    },
    speed: () => speed,
    setSpeed(value) {
      speed = value;
    },
    seek,
    /** So many milliseconds went by. */
    tick(ms) {
      if (!playing) return;
      now = Math.min(end, now + Math.min(ms, 250) * 1000 * speed);
      const moments = [];
      while (place < last && at(place) <= now && moments.length < 20000) {
        const one = moment(place++);
        if (one !== null && one.kind !== 'header') moments.push(one);
      }
      if (moments.length > 0) onMoments(moments, 0);
      if (place >= last && now >= end) {
        playing = false;
        onEnd();
      }
    },
    /** To the next thing that happened, or back to the one before. */
    step(forwards) {
      const stops = overview.stops;
      const margin = 1000;
      const to = forwards ? stops.find(t => t > now + margin) : [...stops].reverse().find(t => t < now - margin);
      seek(to === undefined ? (forwards ? end : 0) : to);
    },
  };
}

/** What the chart shows of the whole recording, and where it is worth stopping. */
function readOverview(recording) {
  const model = newModel();
  accept(model, recording.header);
  const { order, kinds } = recording;
  const several = kind =>
    Math.max(
      1,
      Math.ceil(
        order.reduce((sum, at) => sum + (KINDS[kinds[at]] === kind ? 1 : 0), 0) /
          (kind === 'load' ? KEEP.load * 0.75 : 40000),
      ),
    );
  const every = { load: several('load'), replica: several('replica') };
  const seen = { load: 0, replica: 0 };
  const stops = new Set();
  const marks = [];
  for (const at of order) {
    const kind = KINDS[kinds[at]];
    if (kind === 'other' || kind === 'header' || kind === 'slot' || kind === 'verdict') continue;
    if (kind in every && seen[kind]++ % every[kind] !== 0) continue;
    try {
      const moment = recording.moment(at);
      if (kind === 'event' && moment.weight !== 'note') stops.add(moment.t);
      accept(model, moment);
    } catch {
      continue;
    }
    if (model.marks.length > 0) marks.push(...model.marks.splice(0));
  }
  for (const found of marks) stops.add(found.t);
  return { load: model.load, marks: marks.slice(0, 2000), stops: [...stops].sort((a, b) => a - b) };
}
