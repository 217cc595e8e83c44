// Throughput and latency over time, with what happened marked in them. In a recording it shows all of it, and a click
// goes there.

const CHART = { left: 56, right: 12, top: 20, gap: 26, bottom: 20, seconds: 120 };
const SIGNS = { view: '♛', deed: '▼', alarm: '!' };
const SIGN_INK = { view: 'link', deed: 'text', alarm: 'bad' };

function chartOf(onSeek) {
  const canvas = $('chart');
  let last = null,
    pointed = null;

  canvas.addEventListener('click', event => {
    if (last && last.whole) onSeek(timeAt(event));
  });
  canvas.addEventListener('pointermove', event => {
    pointed = event.offsetX;
    if (last) draw(last);
  });
  canvas.addEventListener('pointerleave', () => {
    pointed = null;
    if (last) draw(last);
  });

  const span = width => [CHART.left, width - CHART.right];
  function timeAt(event) {
    const [left, right] = span(canvas.clientWidth);
    return last.from + Math.min(1, Math.max(0, (event.offsetX - left) / (right - left))) * (last.to - last.from);
  }

  /** `what`: load, marks, from, to, now, and whether that is all there is. */
  function draw(what) {
    last = what;
    const { pen, width, height } = sheet(canvas);
    if (width < 120) return;
    const { from, to } = what;
    const [left, right] = span(width);
    const x = t => left + ((t - from) / Math.max(1, to - from)) * (right - left);
    const high = (height - CHART.top - CHART.gap - CHART.bottom) / 2;
    const points = what.load.filter(point => point.t >= from - 2e6 && point.t <= to);
    const upper = { left, right, top: CHART.top, high, x };
    const lower = { ...upper, top: CHART.top + high + CHART.gap };
    drawPanel(pen, upper, points, [['rate', 'ink-0', []]], 'calls/s', short);
    drawPanel(
      pen,
      lower,
      points,
      [
        ['p99', 'ink-1', [5, 3]],
        ['p50', 'ink-2', []],
      ],
      'latency',
      duration,
    );
    drawTimes(pen, upper, { from, to, height });
    drawMarks(
      pen,
      upper,
      what.marks.filter(one => one.t >= from && one.t <= to),
      height,
    );
    if (what.whole) {
      pen.fillStyle = ink.text;
      pen.fillRect(x(what.now) - 0.75, CHART.top - 6, 1.5, height - CHART.top - CHART.bottom + 6);
    }
    if (pointed !== null) drawPointed(pen, what, points, { x, left, right, width });
  }

  function drawPointed(pen, what, points, { x, left, right, width }) {
    const near = points.reduce(
      (best, point) => (best === null || Math.abs(x(point.t) - pointed) < Math.abs(x(best.t) - pointed) ? point : best),
      null,
    );
    const found = what.marks
      .filter(one => Math.abs(x(one.t) - pointed) < 5)
      .slice(0, 2)
      .map(one => one.what);
    const words = near
      ? [`${clock(near.t)}: ${short(near.rate)}/s, p50 ${duration(near.p50)}, p99 ${duration(near.p99)}`, ...found]
      : found;
    if (words.length === 0 || pointed < left - 4 || pointed > right + 4) return;
    pen.fillStyle = ink.edge;
    pen.fillRect(pointed, CHART.top, 1, canvas.clientHeight - CHART.top - CHART.bottom);
    pen.font = `12px ${FONT}`;
    const wide = Math.max(...words.map(line => pen.measureText(line).width)) + 14;
    const place = Math.max(2, Math.min(width - wide - 2, pointed + 8));
    pen.fillStyle = ink.paper;
    pen.strokeStyle = ink.edge;
    pen.lineWidth = 1;
    pen.fillRect(place, CHART.top + 4, wide, 18 * words.length + 6);
    pen.strokeRect(place + 0.5, CHART.top + 4.5, wide, 18 * words.length + 6);
    words.forEach((line, at) => write(pen, line, place + 7, CHART.top + 17 + 18 * at));
  }

  return { draw };
}

/** A round number that is not less. */
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 10].map(step => step * power).find(step => step >= value * 0.999);
}

function drawPanel(pen, { left, right, top, high, x }, points, lines, name, words) {
  const values = points.flatMap(point => lines.map(([key]) => point[key])).filter(value => value !== null);
  // A single slow second must not press everything else to the floor.
  const top99 = [...values].sort((a, b) => a - b)[Math.floor(values.length * 0.985)] || 0;
  const most = roundUp(Math.max(1, values.length < 60 ? Math.max(0, ...values) : top99 * 1.15));
  const y = value => top + high - Math.min(1, value / most) * high;
  pen.lineWidth = 1;
  for (const share of [0, 0.5, 1]) {
    pen.strokeStyle = share === 0 ? ink.edge : ink.rule;
    pen.beginPath();
    pen.moveTo(left, Math.round(y(most * share)) + 0.5);
    pen.lineTo(right, Math.round(y(most * share)) + 0.5);
    pen.stroke();
    write(pen, share === 0 ? '0' : words(most * share), left - 7, y(most * share), {
      size: 11,
      align: 'right',
      colour: ink.faint,
    });
  }
  write(pen, name, left - 50, top - 11, { size: 11.5, bold: true });
  pen.save();
  pen.beginPath();
  pen.rect(left, top - 2, right - left, high + 4);
  pen.clip();
  for (const [key, colour, dash] of lines) {
    pen.strokeStyle = ink[colour];
    pen.lineWidth = 1.8;
    pen.setLineDash(dash);
    pen.lineJoin = 'round';
    pen.beginPath();
    let drawing = false;
    for (const point of points) {
      if (point[key] === null) {
        drawing = false;
        continue;
      }
      if (drawing) pen.lineTo(x(point.t), y(point[key]));
      else pen.moveTo(x(point.t), y(point[key]));
      drawing = true;
    }
    pen.stroke();
  }
  pen.restore();
}

function drawTimes(pen, { left, right, x }, { from, to, height }) {
  const wanted = Math.max(2, Math.floor((right - left) / 110));
  const step =
    [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600].map(s => s * 1e6).find(s => (to - from) / s <= wanted) ||
    (to - from) / wanted;
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    write(pen, clock(t).replace(/\.0$/, ''), x(t), height - 8, { size: 11, align: 'center', colour: ink.faint });
  }
}

function drawMarks(pen, { x }, marks, height) {
  const last = {};
  for (const one of marks) {
    const place = x(one.t);
    pen.strokeStyle = ink[SIGN_INK[one.kind]];
    pen.globalAlpha = 0.55;
    pen.lineWidth = 1;
    pen.setLineDash(one.kind === 'view' ? [] : [2, 3]);
    pen.beginPath();
    pen.moveTo(place, CHART.top - 4);
    pen.lineTo(place, height - CHART.bottom);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    if (place - (last.x ?? -99) > 11) {
      write(pen, SIGNS[one.kind], place, CHART.top - 12, {
        size: 12,
        align: 'center',
        colour: ink[SIGN_INK[one.kind]],
        bold: true,
      });
      last.x = place;
    }
  }
}
