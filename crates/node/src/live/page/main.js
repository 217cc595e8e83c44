// The page: where its moments come from, when it draws, and what keys do.

const TROUBLE = {
  refused: 'This page may not look at the cluster.',
  strange: 'The server does not answer as it should.',
  silent: 'The server does not answer. It may have ended; this page goes on asking.',
};

function start() {
  let model = newModel(),
    live = null,
    player = null,
    trouble = null,
    note = null,
    scheduled = false,
    anew = true,
    before = 0;
  let facts = '',
    chartFor = '',
    announced = '';
  const agreement = agreementOf(schedule);
  const log = logOf();
  const banners = bannersOf();
  const control = controlOf({ live: () => live, model: () => model });
  const cards = cardsOf(control.act);
  const chart = chartOf(t => {
    if (player) player.seek(t);
  });

  function schedule() {
    if (scheduled || document.hidden) return;
    scheduled = true;
    requestAnimationFrame(frame);
  }

  function frame(now) {
    scheduled = false;
    if (player) player.tick(now - before);
    before = now;
    draw(now);
    if ((player && player.isPlaying()) || (model.header && agreement.isMoving())) schedule();
  }

  function draw(now) {
    drawBanners();
    mark(document.documentElement, 'data-waits', !model.header);
    if (!model.header) return say($('about'), 'Waiting for the cluster.');
    drawNow();
    const can = live !== null && !trouble && model.verdict.length === 0;
    control.draw(model, can);
    cards.draw(model, can);
    agreement.draw(model, now, anew);
    log.draw(model);
    drawChart();
    drawPlayer();
    show($('verdict'), model.verdict.length > 0);
    if ($('verdict-lines').childElementCount !== model.verdict.length)
      $('verdict-lines').replaceChildren(...model.verdict.map(line => el('li', { text: line })));
    anew = false;
    const root = document.documentElement.dataset;
    root.view = String(workingView(model));
    if (model.commits && !('firstCommitMs' in root)) root.firstCommitMs = String(Math.round(performance.now()));
  }

  const isSilent = () => trouble !== null && trouble.kind === 'silent';

  function drawBanners() {
    const found = [];
    const over = model.header && ending(model, isSilent());
    if (trouble && !over)
      found.push({ level: 'bad', key: 'trouble', title: TROUBLE[trouble.kind], words: trouble.said });
    if (note) found.push({ level: 'warn', key: 'note', title: note, words: '' });
    // Of what is over only what stays is told.
    const standing = model.header ? warnings(model).filter(one => !over || one.level === 'bad') : [];
    banners.draw([...found, ...standing]);
  }

  function drawNow() {
    const { header } = model;
    const over = ending(model, isSilent());
    const { level, headline, reason, why } =
      over ||
      (trouble
        ? { level: 'warn', headline: 'Nothing is heard any more. This is how it was last.', reason: '' }
        : diagnosis(model));
    const place = $('now');
    mark(place, 'data-level', level);
    mark(document.documentElement, 'data-level', level);
    say($('headline'), `${{ good: '✓', warn: '▲', bad: '✕', over: '■' }[level]} ${headline}`);
    say($('reason'), reason + (why ? whomToAsk(header) : ''));
    if (announced !== headline && announced !== '') say($('said'), headline);
    announced = headline;
    const last = model.load[model.load.length - 1];
    const view = workingView(model);
    const rows = [
      ['agreed up to slot', count(Math.max(0, model.progress.executed))],
      ['view', view < 0 ? '-' : `${view}, primary ${primaryOf(model, view)}`],
    ];
    if (last && over) rows.push(['calls answered', count(last.done)]);
    else if (last) {
      rows.push(
        ['calls answered', `${short(last.rate)}/s`],
        ['half within', duration(last.p50)],
        ['99 % within', duration(last.p99)],
        ['in flight', short(last.inFlight)],
      );
    }
    if (last && last.failed > 0) rows.push(['failed', count(last.failed)]);
    rows.push(['a quorum', `${header.q} of ${header.n}`], ['may be faulty', `f = ${header.f}`]);
    const alarms = known(model).reduce((sum, replica) => sum + replica.alarms, 0);
    if (alarms > 0) rows.push(['alarms', `! ${count(alarms)}`]);
    const form = rows.map(([name]) => name).join();
    if (facts !== form)
      $('facts').replaceChildren(
        ...rows.map(([name]) =>
          el('div', {}, el('dt', { text: name }), el('dd', {}, name === 'alarms' ? alarmsButton() : '')),
        ),
      );
    facts = form;
    rows.forEach(([, value], at) => {
      const place = $('facts').children[at].lastChild;
      say(place.firstElementChild || place, value);
    });
  }

  function drawChart() {
    // One replica knows of no calls.
    show($('time'), model.header.source !== 'replica' || model.load.length > 0);
    const width = $('chart').clientWidth;
    const form = `${model.changed.load} ${player ? player.now() : Math.floor(model.now / 2e5)} ${width}`;
    if (form === chartFor && !anew) return;
    chartFor = form;
    const whole = player !== null;
    const source = whole ? player.overview : model;
    const to = whole ? player.end : Math.max(model.now, 10e6);
    chart.draw({
      load: source.load,
      marks: source.marks,
      from: whole ? 0 : Math.max(0, to - CHART.seconds * 1e6),
      to,
      now: model.now,
      whole,
    });
    const last = model.load[model.load.length - 1];
    const words = !last
      ? 'Nobody has told of any load.'
      : last.p50 === null
        ? 'No call is answered now.'
        : `${count(last.rate)} calls answered each second, half within ${duration(last.p50)}, 99 % within ${duration(last.p99)}.`;
    say($('chart-words'), whole ? `${words} Click to go to a moment.` : words);
    mark($('chart'), 'aria-label', `Throughput and latency over time. Now: ${words}`);
  }

  function drawPlayer() {
    show($('player'), player !== null);
    if (!player) return;
    say($('play'), player.isPlaying() ? 'Pause' : 'Play');
    mark($('play'), 'aria-pressed', player.isPlaying());
    const bar = $('scrubber');
    if (document.activeElement !== bar || player.isPlaying())
      bar.value = String(Math.round((player.now() / Math.max(1, player.end)) * 1000));
    mark(bar, 'aria-valuetext', `${clock(player.now())} of ${clock(player.end)}`);
    say($('where'), `${clock(player.now())} of ${clock(player.end)}`);
  }

  function reset() {
    model = newModel();
    anew = true;
    agreement.reset();
    log.reset();
  }

  function take(moments, lost) {
    if (lost > 0 && model.header) {
      const what = `${many(lost, 'moment')} passed unseen, because this page was late`;
      addEvent(model, { t: model.now, replica: null, what, weight: 'note' });
    }
    for (const moment of moments) accept(model, moment);
    const over = model.verdict.length > 0;
    if (live && over) live.stop();
    if (model.header && (anew || over || moments.some(moment => moment && moment.kind === 'header'))) introduce();
    schedule();
  }

  function introduce() {
    const { title, source, n, f, q, control: may } = model.header;
    const where =
      { testbed: 'a testbed', replica: 'one replica', simulation: 'a simulated cluster' }[source] || 'a cluster';
    say($('title'), title || 'Quorate');
    document.title = `${title || 'A cluster'} · Quorate`;
    say(
      $('about'),
      `${player ? 'A recording of' : model.verdict.length > 0 ? 'Over:' : 'Live:'} ${where} of ${n} replicas.${player || may ? '' : ' You can look, and change nothing.'}`,
    );
    say(
      $('help-quorum'),
      `Here ${n} replicas bear f = ${f} faulty ${f === 1 ? 'one' : 'ones'}, and a decision needs equal votes of q = ${q}. Any two groups of ${q} share an honest replica, so they cannot decide two different things.`,
    );
  }

  function goLive() {
    if (player) player = null;
    note = null;
    show($('live'), false);
    reset();
    const onTrouble = (kind, said) => {
      const changed = kind !== (trouble && trouble.kind);
      trouble = kind ? { kind, said } : null;
      if (changed) schedule();
    };
    live = liveSource({
      onMoments: take,
      onTrouble,
      onAnew: reset,
      onWhole: async parts => open(new Uint8Array(await new Blob(parts).arrayBuffer()), false),
    });
    schedule();
  }

  function open(bytes, canReturn = true) {
    let recording;
    try {
      recording = readRecording(bytes);
    } catch (error) {
      note = error.message;
      return schedule();
    }
    if (live) {
      live.stop();
      show($('live'), canReturn && model.verdict.length === 0);
    }
    [live, trouble] = [null, null];
    note =
      recording.broken > 0
        ? `${many(recording.broken, 'line')} of this file could not be read: it may have been cut off.`
        : note;
    // What was recorded can be looked at, and no more be changed.
    recording.header = { ...recording.header, control: false };
    player = playerOf(recording, { onAnew: reset, onMoments: take, onEnd: schedule });
    player.setSpeed(Number($('speed').value));
    player.seek(0);
    play(true);
  }

  async function openFile(file) {
    note = file.size > FILE_BYTES_MAX ? `Only the first ${FILE_BYTES_MAX >> 20} MiB of ${file.name} are shown.` : null;
    open(new Uint8Array(await file.slice(0, FILE_BYTES_MAX).arrayBuffer()));
  }

  function play(on) {
    before = performance.now();
    player.play(on);
    schedule();
  }

  function change(what) {
    what();
    schedule();
  }

  listen({ agreement, control, schedule, change, play, openFile, goLive, player: () => player, model: () => model });
  readInk();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    readInk();
    anew = true;
    schedule();
  });
  new ResizeObserver(() => {
    anew = true;
    schedule();
  }).observe($('chart'));
  document.addEventListener('visibilitychange', schedule);

  const inside = $('recording');
  if (inside) open(new TextEncoder().encode(inside.textContent));
  else if (location.protocol.startsWith('http')) goLive();
  else {
    note =
      'Open a recording, or drop it here: a file that `quorate testbed --record FILE` or `quorate simulate --record FILE` wrote.';
    schedule();
  }
}

/** Everything that a person can press, click or drop. */
function listen({ agreement, schedule, change, play, openFile, goLive, player, model }) {
  for (const speed of SPEEDS) $('speed').append(el('option', { value: String(speed), text: `${speed}×` }));
  $('speed').value = '1';
  $('speed').addEventListener('change', () => player() && player().setSpeed(Number($('speed').value)));
  $('play').addEventListener('click', () => play(!player().isPlaying()));
  $('before').addEventListener('click', () => change(() => player().step(false)));
  $('after').addEventListener('click', () => change(() => player().step(true)));
  $('scrubber').addEventListener('input', () =>
    change(() => player().seek(($('scrubber').value / 1000) * player().end)),
  );
  $('open').addEventListener('click', () => $('file').click());
  $('file').addEventListener('change', () => {
    if ($('file').files.length > 0) openFile($('file').files[0]);
    $('file').value = '';
  });
  $('live').addEventListener('click', goLive);
  $('help').addEventListener('click', () => $('help-text').showModal());
  $('skip').addEventListener('click', () => $('agreement').focus());
  dropping(openFile);

  const faster = by => {
    const at = SPEEDS.indexOf(player().speed()) + by;
    const speed = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at))];
    player().setSpeed(speed);
    $('speed').value = String(speed);
  };
  const lookBy = by => {
    const { n } = model().header;
    agreement.lookAt(agreement.look() < 0 ? (by > 0 ? 0 : n - 1) : (agreement.look() + by + n) % n);
  };
  const keys = {
    ' ': () => (player() ? play(!player().isPlaying()) : agreement.setFollow(!agreement.follows())),
    ArrowLeft: () => agreement.step(1),
    ArrowRight: () => agreement.step(-1),
    ArrowUp: () => lookBy(-1),
    ArrowDown: () => lookBy(1),
    f: () => agreement.setFollow(true),
    r: () => agreement.again(),
    ',': () => player() && player().step(false),
    '.': () => player() && player().step(true),
    '-': () => player() && faster(-1),
    '+': () => player() && faster(1),
    '=': () => player() && faster(1),
    '?': () => $('help-text').showModal(),
  };
  document.addEventListener('keydown', event => {
    // What was closed keeps the focus until the next frame; a key that comes before it is for the page.
    const target = event.target.closest('dialog:not([open])') ? document.body : event.target;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!(key in keys) || event.ctrlKey || event.metaKey || event.altKey || !$('keys').checked) return;
    if (document.querySelector('dialog[open]') || (!model().header && key !== '?')) return;
    // Menus, sliders and text have these keys for themselves, and a button has the space bar.
    if (target.closest('input, select, textarea, #log, .scroll') || (key === ' ' && target.closest('button, summary'))) return;
    // The arrows up and down move the page unless somebody is at the picture.
    if ((key === 'ArrowUp' || key === 'ArrowDown') && !target.closest('#agreement')) return;
    event.preventDefault();
    keys[key]();
    schedule();
  });
}

function dropping(openFile) {
  let depth = 0;
  const files = event => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  const on = (name, what) =>
    window.addEventListener(name, event => {
      if (!files(event)) return;
      event.preventDefault();
      what(event);
      show($('drop'), depth > 0);
    });
  on('dragenter', () => depth++);
  on('dragover', () => {});
  on('dragleave', () => depth--);
  on('drop', event => {
    depth = 0;
    if (event.dataTransfer.files.length > 0) openFile(event.dataTransfer.files[0]);
  });
}

start();
