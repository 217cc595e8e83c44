// What is going on, in sentences for somebody who does not know the protocol.

const ABOUT = { history: 'what was executed up to slot', checkpoint: 'the state at slot', reply: 'an answer of slot' };
const aboutWhat = ({ about, seq }) => `${ABOUT[about] || `${about} at slot`} ${count(seq)}`;
/** How long a false vote or answer is shown after the last one, in microseconds; a wrong state does not pass. */
const PASSES = { batch: 2e7, reply: 2e7 };

/** The six steps of one agreement. */
function stepsOf({ n, f, q }, slot) {
  const place = slot ? `slot ${count(slot.seq)}` : 'a slot';
  return [
    ['request', 'Request', 'A client signs what it wants to have done, and sends it.'],
    ['proposed', 'Pre-prepare', `The primary gives it a place in the order: ${place}.`],
    [
      'prepared',
      'Prepare',
      `Replicas tell each other which proposal they saw. ${q} of ${n} alike: no other can win ${place} in this view.`,
    ],
    [
      'committed',
      'Commit',
      `They tell each other that they know so. ${q} of ${n}: it stays, even if the primary changes.`,
    ],
    ['executed', 'Execute', 'Everybody executes slots in the same order, without gaps.'],
    ['replied', 'Reply', `Replicas answer. The client believes ${f + 1} equal answers: one of them is honest.`],
  ];
}

const STATES = {
  normal: ['good', '●', 'normal'],
  'changing view': ['warn', '◐', 'changing view'],
  'catching up': ['warn', '↻', 'catching up'],
  stopping: ['warn', '↓', 'stopping'],
  healing: ['warn', '✚', 'healing'],
  out: ['bad', '⊘', 'out: its word counts no more'],
  halted: ['bad', '■', 'halted'],
  stopped: ['bad', '✕', 'stopped'],
  unreachable: ['bad', '?', 'not reachable'],
};

/** Where to learn what each replica waits for; nowhere once it is over, or in a simulation. */
function whomToAsk({ control, source }) {
  const where = control ? 'that the terminal names' : source === 'replica' ? 'beside its cluster file' : '';
  return where && ` What each replica waits for: run the \`quorate why\` ${where}.`;
}

/** How it is now: a level, a headline, and why. */
function diagnosis(model) {
  const { n, f, q } = model.header;
  if (known(model).length === 0) return { level: 'warn', headline: 'Waiting for the first replica.', reason: '' };
  // A replica shows what it knows of itself, and of others only what it sees in the votes.
  if (model.header.source === 'replica' && n > 1 && known(model).length === 1) return diagnosisOfOne(model);
  const up = upOnes(model);
  const gone = model.replicas
    .map((replica, id) => [replica, id])
    .filter(([replica]) => !isUp(replica))
    .map(([, id]) => id);
  const load = model.load[model.load.length - 1];
  const silent = model.now - model.progress.at;
  const stuck = silent > 2e6;
  const asked = up.some(replica => replica.pending > 0) || (load !== undefined && load.inFlight > 0);
  if (up.length < q) {
    return {
      level: 'bad',
      why: true,
      headline:
        up.length === 0
          ? `All ${n} replicas are gone; the run ${cameTo(model)}.`
          : `Nothing can be agreed on: ${up.length} of ${n} replicas are up, and ${q} are needed.`,
      reason: `${capital(named(gone))} ${gone.length === 1 ? 'is' : 'are'} gone. Every decision needs equal votes of ${q}, so that any two decisions share an honest replica. Nothing that was committed is lost: it goes on when ${q - up.length === 1 ? 'one of them comes' : `${q - up.length} of them come`} back.`,
    };
  }
  const split = groups(model);
  if (split.length > 1 && split[0].length < q) {
    return {
      level: 'bad',
      why: true,
      headline: `Nothing can be agreed on: the network is split, and no side has ${q} replicas.`,
      reason: `The sides are ${split.map(group => `{${group.join(', ')}}`).join(' and ')}. Neither goes on alone, so they cannot decide two different things; when the network heals they go on together.`,
    };
  }
  const changing = up.filter(replica => replica.state === 'changing view');
  if (changing.length > 0 && (stuck || changing.length > n - q)) {
    const view = Math.max(...changing.map(replica => replica.view));
    return {
      level: 'warn',
      why: stuck,
      headline: `The replicas are changing the primary: they go to view ${view}.`,
      reason: `${capital(named(changing.map(replica => replica.id)))} ${changing.length === 1 ? 'has' : 'have'} given up on the primary. With ${q} of ${n} the next one begins, and takes over whatever may have been committed.`,
    };
  }
  const primary = primaryOf(model, workingView(model));
  if (gone.includes(primary)) {
    return {
      level: 'warn',
      headline: `The primary, replica ${primary}, is gone.`,
      reason: `The others wait for it no longer than a moment; then ${q} of them go to the next view, which has another primary.`,
    };
  }
  if (stuck && asked) {
    return {
      level: 'warn',
      why: true,
      headline: `Nothing was executed for ${duration(silent)}, although clients wait.`,
      reason: 'If this lasts, replicas leave the view for another primary.',
    };
  }
  const absent = gone.length + split.slice(1).reduce((sum, group) => sum + group.length, 0);
  const words = [];
  if (gone.length > 0) words.push(`${capital(named(gone))} ${gone.length === 1 ? 'is' : 'are'} gone.`);
  if (split.length > 1)
    words.push(`${capital(named(split.slice(1).flat()))} ${absent - gone.length === 1 ? 'is' : 'are'} cut off.`);
  const lying = up.filter(replica => replica.behaviour !== '');
  if (lying.length > 0)
    words.push(
      `${capital(named(lying.map(replica => replica.id)))} ${lying.length === 1 ? 'lies' : 'lie'} on purpose.`,
    );
  if (words.length > 0) {
    return {
      level: absent + lying.length > f ? 'bad' : 'warn',
      headline: stuck ? 'Nobody asks for anything; the cluster would go on.' : 'The cluster goes on.',
      reason: `${words.join(' ')} ${absent + lying.length <= f ? `It bears that: up to f = ${f} of ${n} may be faulty.` : ''}`,
    };
  }
  const behind = up.filter(replica => replica.state !== 'normal');
  return {
    level: 'good',
    headline: stuck
      ? `All ${n} replicas are up, and nobody asks for anything.`
      : `All ${n} replicas are up and agree on one slot after the other.`,
    reason:
      behind.length > 0
        ? `${capital(named(behind.map(replica => replica.id)))}: ${listed([...new Set(behind.map(stateWord))])}.`
        : '',
  };
}

const stateWord = replica => (STATES[replica.state] || ['', '', replica.state])[2];

function diagnosisOfOne(model) {
  const one = known(model)[0];
  const links = one.links.filter((up, id) => up && id !== one.id).length;
  const { n, q } = model.header;
  const reason = `This is what replica ${one.id} sees: it is linked with ${links} of ${n - 1} others.`;
  if (links + 1 < q) {
    return {
      level: 'bad',
      why: true,
      headline: `Nothing can be agreed on here: it takes ${q} replicas that hear each other, and there are ${links + 1}.`,
      reason,
    };
  }
  const [level, , word] = STATES[one.state] || ['warn', '', one.state];
  return {
    level,
    why: level !== 'good',
    headline: `Replica ${one.id} is ${word === 'normal' ? 'taking part' : word} in view ${one.view}.`,
    reason,
  };
}

const cameTo = ({ progress, view }) =>
  `came to slot ${count(Math.max(0, progress.executed))} in view ${Math.max(0, view)}`;

/** How it ended, and what it came to; nothing while it goes on. `silent`: the server does not answer any more. */
function ending(model, silent) {
  const over = model.verdict.length > 0;
  if (!over && !silent) return null;
  const what = model.header.source === 'replica' ? 'The replica' : 'The run';
  const odd = [...model.disagreements.values()]
    .filter(({ about, replica }) => !(about in PASSES) && !(model.replicas[replica]?.lies > 0))
    .map(one => one.replica);
  const verdict =
    model.verdict.find(line => line.startsWith('verdict ')) ||
    model.verdict[0] ||
    `${odd.length > 0 ? named(distinct(odd)) : 'nobody honest'} was seen to disagree`;
  return {
    level: odd.length > 0 ? 'bad' : 'over',
    headline: `${what} has ended${over ? '' : ', or cannot be reached any more'}; it ${cameTo(model)}.`,
    reason: `${capital(verdict.replace(/^verdict +/, ''))}. Below is how it was last.${over ? '' : ' This page goes on asking.'}`,
  };
}

/** Warnings that stand above everything: too many faults, and who disagrees. */
function warnings(model) {
  const { n, f } = model.header;
  const found = [];
  for (const one of model.disagreements.values()) {
    if (one.about === 'batch' || model.now - one.t > (PASSES[one.about] || Infinity)) continue;
    const lies = model.replicas[one.replica] && model.replicas[one.replica].behaviour !== '';
    const others = one.others
      .split(' ')
      .filter(word => word)
      .map(digest)
      .join(' ');
    found.push({
      level: 'bad',
      key: `${one.replica} ${one.about}`,
      title: `Replica ${one.replica} disagrees about ${aboutWhat(one)}${lies ? '; it lies on purpose' : ''}.`,
      words: `It says ${digest(one.says)}, the others say ${others}.${one.times > 1 ? ` Seen ${many(one.times, 'time')} since ${clock(one.first)}.` : ''}`,
    });
  }
  const lying = model.replicas.filter(replica => isUp(replica) && replica.behaviour !== '');
  found.push(...differingVotes(model, lying));
  if (lying.length > f) {
    // First of all: only so many are shown.
    found.unshift({
      level: 'bad',
      key: 'lies',
      title: `${lying.length} of ${n} replicas lie, and the protocol bears ${f}.`,
      words:
        'Now nothing is promised any more: honest replicas may disagree, and clients may be told what is not so. This is what the number f means.',
    });
  }
  const gone =
    model.header.source === 'replica' ? [] : model.replicas.filter(replica => replica !== null && !isUp(replica));
  if (lying.length <= f && gone.length + lying.length > f && gone.length > 0) {
    found.push({
      level: 'warn',
      key: 'faults',
      title: `${gone.length + lying.length} of ${n} replicas are dead or lie: more than f = ${f}.`,
      words:
        'The cluster may stand still until one of them is back or honest. It still tells nobody anything false, because no more than f lie.',
    });
  }
  return found;
}

/** Votes for different batches of one slot: whoever casts one of these may be the liar, or may have been lied to. */
function differingVotes(model, lying) {
  const all = [...model.disagreements.values()].filter(
    one => one.about === 'batch' && model.now - one.t <= PASSES.batch,
  );
  if (all.length === 0) return [];
  const { n, q } = model.header;
  const newest = all.reduce((best, one) => (one.seq > best.seq ? one : best));
  const voters = new Map([[digest(newest.others), []]]);
  for (const one of all.filter(one => one.seq === newest.seq))
    voters.set(digest(one.says), [...(voters.get(digest(one.says)) || []), one.replica]);
  const says = [...voters].map(([batch, ids]) => `${batch} by ${ids.length > 0 ? named(ids) : 'others'}`);
  const who =
    lying.length > 0
      ? ` (${named(lying.map(replica => replica.id))} ${lying.length === 1 ? 'lies' : 'lie'} on purpose)`
      : '';
  return [
    {
      level: 'warn',
      key: 'batch',
      title: `There are votes for different batches in slot ${count(newest.seq)}.`,
      words: `${says.join(', ')}. Somebody lies about it, to them or to us${who}. At most one batch gets ${q} of ${n} votes.`,
    },
  ];
}

const digest = words => (words.length > 24 && !words.includes(' ') ? words.slice(0, 16) + '…' : words);

/** How far a slot has come, in words, and how many replicas are beyond it without a word of it. */
function howFar(model, slot) {
  const { n, source } = model.header;
  const have = reached(slot);
  if (source === 'replica') {
    return [['executed', 'committed', 'prepared'].find(step => have[step] > 0) || 'open', ''];
  }
  if (openFor(model, slot) !== null) return [have.prepared > 0 ? `${have.prepared} of ${n} prepared` : 'open', ''];
  if (have.executed === 0 && have.committed === 0) return [`seen by ${told(slot)} of ${n}`, ''];
  const step = have.executed >= have.committed ? 'executed' : 'committed';
  const hidden = unseen(model, slot, step).length;
  if (hidden === 0) return [`${have[step]} of ${n} ${step}`, ''];
  const rest = n - hidden;
  return [have[step] < rest ? `${have[step]} of ${rest} ${step}` : `${step} by ${rest}`, `not sampled at ${hidden}`];
}

/** Votes for another batch than the one that was committed, in words. */
function straysInWords(model, found) {
  const said = distinct(found.map(vote => vote.from)).map(id => {
    const own = found.filter(vote => vote.from === id);
    const before = distinct(own.map(vote => vote.to).filter(to => to !== id));
    const why =
      model.replicas[id]?.behaviour
        ? 'it lies on purpose'
        : own.some(vote => vote.twice)
          ? 'it voted for the right one, too, so it lies'
          : 'it lies, or was lied to';
    return `≠ Replica ${id} voted for another batch than was committed${before.length > 0 ? `, before ${named(before)}` : ''}: ${why}.`;
  });
  const { n, q } = model.header;
  return said.length > 0 ? `${said.join(' ')} Only one batch gets ${q} of ${n} votes.` : '';
}

/** What a replica waits for in a slot, in words; nothing if it is through. */
function missing(model, slot, id) {
  const lane = slot.at[id];
  const { q } = model.header;
  if (!lane) return isUp(model.replicas[id]) ? 'has told nothing of this slot' : 'is gone';
  const lacking = (list, kind) => {
    const have = distinct(list.map(vote => vote.from));
    return `waits for ${many(Math.max(0, q - have.length), `more ${kind}`)}: has ${have.length === 0 ? 'none' : `those of ${listed(have)}`}`;
  };
  if (lane.executed !== null) return '';
  if (lane.proposed === null && lane.committed === null) return 'waits for the proposal';
  if (lane.committed !== null) return 'waits to execute the slots before it';
  if (lane.prepared === null) return lacking(lane.prepares, 'PREPARE');
  return lacking(lane.commits, 'COMMIT');
}
