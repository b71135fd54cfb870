// Elements and texts. Data from files and from the service is inserted as text nodes only.

/** Creates an element. Properties: `class`, `on` (listeners), `data`, `style` (through the CSSOM), other attributes. */
export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'on') for (const [event, then] of Object.entries(value)) element.addEventListener(event, then);
    else if (key === 'data') Object.assign(element.dataset, value);
    else if (key === 'style') Object.assign(element.style, value);
    else if (key === 'value' || key === 'checked' || key === 'selected') element[key] = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces the content of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ''));
}

export function number(n) { return Number(n).toLocaleString('en'); }
export function plural(word) { return word.endsWith('y') ? `${word.slice(0, -1)}ies` : `${word}s`; }
export function count(n, one, many = plural(one)) { return `${number(n)} ${Number(n) === 1 ? one : many}`; }
export function people(n) { return count(n, 'person', 'people'); }
export function capitalize(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

/** Returns a text as a sentence. */
export function sentence(text) {
  // The service marks names with the marks of code.
  const trimmed = String(text ?? '').trim().replace(/`([^`]*)`/g, '“$1”');
  return trimmed && capitalize(/[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`);
}

/** Returns an instant in the time zone of the browser. */
export function instant(text) {
  return text ? new Date(text).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' }) : '';
}

export function bytes(n) {
  if (n < 1024) return count(n, 'byte');
  return n < 1024 * 1024 ? `${number(Math.round(n / 1024))} KB` : `${(n / 1024 / 1024).toFixed(1)} MB`;
}

let unique = 0;

/** Creates a control with its label, its hint and a place for an error. */
export function field(label, control, { hint } = {}) {
  unique += 1;
  control.id ||= `field-${unique}`;
  const about = [];
  const parts = [h('label', { for: control.id }, label), control];
  if (hint) {
    about.push(`${control.id}-hint`);
    parts.push(h('p', { class: 'hint', id: `${control.id}-hint` }, hint));
  }
  about.push(`${control.id}-error`);
  parts.push(h('p', { class: 'error', id: `${control.id}-error`, role: 'alert', hidden: true }));
  control.setAttribute('aria-describedby', about.join(' '));
  return h('div', { class: 'field' }, parts);
}

/** Shows an error at a control of `field`, or removes it if there is no text. */
export function showFieldError(control, text) {
  const place = document.getElementById(`${control.id}-error`);
  place.textContent = text ?? '';
  place.hidden = !text;
  if (text) control.setAttribute('aria-invalid', 'true'); else control.removeAttribute('aria-invalid');
}

export function select(options, chosen, properties = {}) {
  const element = h('select', properties, options.map((option) => {
    if (option.options) {
      return h('optgroup', { label: option.label }, option.options.map((inner) => toOption(inner, chosen)));
    }
    return toOption(option, chosen);
  }));
  return element;
}

function toOption({ value, text, disabled }, chosen) {
  return h('option', { value, disabled, selected: value === chosen }, text);
}

/** Tells a screen reader what happened. */
export function announce(text) {
  const place = document.getElementById('announcer');
  if (place.textContent !== text) place.textContent = text;
}

/** Returns a box with an error or a warning. */
export function notice(kind, ...children) {
  return h('div', { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : undefined, tabindex: kind === 'bad' ? -1 : undefined }, children);
}

export function sleep(ms, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
  });
}
