'use strict';
// Elements, drawing sheets, and numbers in words. What comes from outside becomes text, never markup.

const $ = id => document.getElementById(id);

/** An element with properties (`class`, `text`, attributes, `onclick`) and children. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === 'text') node.textContent = value;
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An element of a drawing in the page. */
function shape(tag, attributes, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Touches the page only where something changed: most of a frame's time would go into layout otherwise. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

function show(node, visible) {
  // Parts of drawings have no property for it.
  if (node.hasAttribute('hidden') === visible) node.toggleAttribute('hidden', !visible);
}

/** The colours of the style sheet, for canvases; read again when light turns to dark. */
const ink = {};

function readInk() {
  const style = getComputedStyle(document.documentElement);
  for (const name of [
    'paper',
    'text',
    'faint',
    'rule',
    'edge',
    'soft',
    'link',
    'bad',
    'warn',
    'lie',
    'ink-0',
    'ink-1',
    'ink-2',
    'wait',
    'prepare',
    'commit',
    'execute',
    'reply',
  ]) {
    ink[name] = style.getPropertyValue('--' + name).trim();
  }
}

/** A canvas as large as its place, cleared, in points of the page. */
function sheet(canvas, height) {
  const scale = Math.min(3, window.devicePixelRatio || 1);
  const width = canvas.clientWidth;
  if (height !== undefined && canvas.style.height !== height + 'px') canvas.style.height = height + 'px';
  const high = height === undefined ? canvas.clientHeight : height;
  const [across, down] = [Math.round(width * scale), Math.round(high * scale)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, high);
  return { pen, width, height: high };
}

const FONT = "system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif";

function write(pen, text, x, y, { colour = ink.text, size = 12, align = 'left', bold = false } = {}) {
  pen.font = `${bold ? '600 ' : ''}${size}px ${FONT}`;
  pen.fillStyle = colour;
  pen.textAlign = align;
  pen.textBaseline = 'middle';
  pen.fillText(text, x, y);
}

const inGroups = new Intl.NumberFormat('en');
const count = value => inGroups.format(Math.round(value));

/** Few digits, so that a number that changes all the time can be read. */
function short(value) {
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  if (value < 10000) return count(value);
  if (value < 1e6) return (value / 1e3).toFixed(1) + 'k';
  return (value / 1e6).toFixed(2) + 'M';
}

/** Microseconds in words. */
function duration(us) {
  if (us === null || us === undefined || !Number.isFinite(us)) return '-';
  if (us < 1000) return Math.round(us) + ' µs';
  if (us < 1e5) return (us / 1e3).toFixed(us < 1e4 ? 1 : 0) + ' ms';
  if (us < 1e6) return Math.round(us / 1e3) + ' ms';
  if (us < 6e7) return (us / 1e6).toFixed(1) + ' s';
  return Math.floor(us / 6e7) + ' min ' + Math.round((us / 1e6) % 60) + ' s';
}

/** A time since the recording began. */
function clock(us) {
  const tenths = Math.max(0, Math.floor(us / 1e5));
  const seconds = Math.floor(tenths / 10) % 60;
  return `${Math.floor(tenths / 600)}:${String(seconds).padStart(2, '0')}.${tenths % 10}`;
}

const many = (number, word) => `${count(number)} ${word}${number === 1 ? '' : 's'}`;

/** `0, 2 and 3`. */
function listed(words) {
  if (words.length === 0) return 'nobody';
  if (words.length === 1) return String(words[0]);
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}

const named = ids => `${ids.length === 1 ? 'replica' : 'replicas'} ${listed(ids)}`;
const distinct = ids => [...new Set(ids)].sort((a, b) => a - b);
const capital = text => text.charAt(0).toUpperCase() + text.slice(1);
