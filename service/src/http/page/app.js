// The page of the service: reads a list of people, shows a preview, enrolls, and downloads the recipients to fix.
// Data from files and from the service is inserted as text nodes only.

import { FIX, FileError, count, entry, fingerprint, number, plural, readCsv, readJson, writeCsv } from './list.js';

export * from './list.js';

const MAX_RECIPIENTS = 4000;
const MAX_BYTES = 8 * 1024 * 1024;
const PAGE_LIMIT = 500;
/** The number of recipients that the table shows at first, and adds with each click. */
const PAGE = 100;
const KEY_HEADER = document.querySelector('meta[name=key-header]').content;
const FORMS = ['key-form', 'list-form', 'result'];
const KINDS = { phone: 'phone', email: 'email', whatsapp: 'WhatsApp', fax: 'fax' };
const CELLS = { text: 'text or dates', number: 'numbers', boolean: 'true or false', json: 'lists or maps, as JSON' };
const KEYS = { external_id: 'external id', phone: 'phone number', email: 'email address' };
const FAULTS = {
  not_a_number: 'it is not a phone number', unknown_country: 'its country is unknown', too_short: 'it is too short',
  too_long: 'it is too long', no_such_number: 'this number does not exist in its country',
  exponent: 'it is in exponent notation; format the column as text', masked: 'some digits are hidden',
  letters: 'it contains letters', several_numbers: 'it is more than one number',
  ambiguous: 'its country code is not clear; begin it with +',
  syntax: 'it is not an email address', local_part: 'the part before the @ is not valid', domain: 'its domain is not valid',
};
const PROBLEMS = {
  unknown_key: 'is not a property of the custom object', wrong_type: 'is of the wrong type',
  null_for_required: 'is required and cannot be cleared', missing_required: 'is required and missing',
};
const DISPOSITIONS = {
  added: 'Added', re_added: 'Added again', reprocessed: 'Reprocessed', ignored: 'Ignored', duplicate: 'Duplicate',
};
const SHOWN = {
  all: ['All', () => true],
  ...fromPairs(Object.entries(DISPOSITIONS), ([name, text]) => [name, [text, (outcome) => outcome.disposition === name]]),
  noted: ['With a note', (outcome) => outcome.noteTexts.length > 0],
};
/** The form field that shows a fault of the request, by the start of its path and code. */
const FIELD_OF = [
  ['sequence', 'sequence'], ['/step_id', 'step'], ['step_', 'step'], ['/custom_data', 'object'], ['/', 'list'],
];
/** For each code: its meaning, and what the user can do. */
const TEXTS = fromPairs(['reasons', 'notes'], (table) => [table, fromPairs($(table).content.querySelectorAll('dt'),
  (term) => [term.dataset.code, [term.textContent, term.nextElementSibling.textContent]])]);

/** The reasons that a correction of the row removes. */
const FIXABLE = new Set([...$('reasons').content.querySelectorAll('dt[data-fixable]')].map((term) => term.dataset.code));

const state = { key: '', sequences: [], list: null, plan: null, result: null, busy: false };

start();

function start() {
  on('key-form', 'submit', (event) => { event.preventDefault(); useKey($('key').value.trim()); });
  on('list-form', 'submit', (event) => { event.preventDefault(); preview(); });
  on('enroll', 'click', enroll);
  on('again', 'click', enrollOnceMore);
  on('download', 'click', download);
  on('sequence', 'change', fillSteps);
  for (const id of ['sequence', 'step', 'object', 'resource', 'kinds']) on(id, 'change', forgetResult);
  on('drop', 'click', () => $('file').click());
  on('file', 'change', () => { loadFile($('file').files[0]); $('file').value = ''; });
  on('counts', 'change', () => render(PAGE));
  on('search', 'input', () => render(PAGE));
  on('more', 'click', showMore);
  // Accept a file anywhere on the page. Otherwise the browser opens it.
  window.addEventListener('dragover', (event) => { event.preventDefault(); $('drop').classList.add('over'); });
  window.addEventListener('dragleave', (event) => { if (!event.relatedTarget) $('drop').classList.remove('over'); });
  window.addEventListener('drop', (event) => {
    event.preventDefault();
    $('drop').classList.remove('over');
    if (!$('list-form').hidden && !state.busy) loadFile(event.dataTransfer.files[0]);
  });
  const key = sessionStorage.getItem('key');
  if (key) { $('key').value = key; useKey(key); } else { $('key').focus(); }
}

// ---- Key and sequence

async function useKey(key) {
  clearErrors();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    return showError('key', key ? 'A key has no spaces and no special characters.' : 'Enter the API key.');
  }
  await runExclusive('Loading the sequences…', async () => {
    state.key = key;
    const sequences = [];
    for (let total = 1; sequences.length < total;) {
      const { body } = await call(`/v1/sequences?limit=${PAGE_LIMIT}&offset=${sequences.length}`);
      if (!body.data.length) break;
      sequences.push(...body.data);
      total = body.total;
    }
    sessionStorage.setItem('key', key);
    state.sequences = sequences;
    fillSequences();
    $('list-form').hidden = false;
    return () => $('sequence').focus();
  });
}

function fillSequences() {
  const options = state.sequences.map((sequence) => {
    const active = sequence.status === 'active' && sequence.steps.length > 0;
    const why = sequence.status === 'active' ? 'no steps' : sequence.status;
    const option = make('option', active ? sequence.title : `${sequence.title} (${why})`);
    option.value = sequence.id;
    option.disabled = !active;
    return option;
  });
  $('sequence').replaceChildren(...options);
  const first = options.find((option) => !option.disabled);
  if (first) first.selected = true;
  else showError('sequence', options.length ? 'No sequence is active.' : 'This organization has no sequences yet.');
  fillSteps();
}

function fillSteps() {
  const steps = [...(chosen()?.steps ?? [])].sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
  const name = (step) => `${step.position} · ${KINDS[step.channel_kind] ?? step.channel_kind}`;
  const options = steps.map((step) => new Option(`Step ${name(step)}`, step.id));
  if (steps.length) options.unshift(new Option(`The first step (${name(steps[0])})`, ''));
  $('step').replaceChildren(...options);
  forgetResult();
}

function chosen() {
  return state.sequences.find((sequence) => sequence.id === $('sequence').value);
}

// ---- The list

async function loadFile(file) {
  if (!file) return;
  clearErrors();
  forgetResult();
  state.list = null;
  $('file-name').textContent = file.name;
  $('file-facts').textContent = 'reading…';
  $('custom').hidden = true;
  try {
    const text = await decode(file);
    const json = /\.json$/i.test(file.name) || (!/\.csv$/i.test(file.name) && /^\s*[[{]/.test(text));
    const list = { name: file.name, ...(json ? readJson(text) : readCsv(text)) };
    state.list = list;
    const facts = [count(list.rows.length, 'person', 'people'), 'choose or drop another to replace it'];
    if (list.rest.some((member) => /^\s*"step_id"/.test(member))) facts.splice(1, 0, 'names its own step');
    $('file-facts').textContent = facts.join(' · ');
    showCustomData(list);
  } catch (error) {
    $('file-facts').textContent = 'choose or drop another';
    showError('list', `${file.name} ${error instanceof FileError ? '' : 'cannot be read: '}${error.message}.`);
  }
}

async function decode(file) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new FileError('is not UTF-8. Save it as “CSV UTF-8”');
  }
}

function showCustomData(list) {
  $('custom').hidden = !list.properties.length;
  $('kinds').replaceChildren(...list.properties.map((key, n) => {
    const label = make('label', `${key} holds`);
    const select = make('select');
    label.htmlFor = select.id = `kind-${n}`;
    select.append(...Object.entries(CELLS).map(([value, text]) => new Option(text, value)));
    const box = make('div');
    box.append(label, select);
    return box;
  }));
}

/** Returns the bodies to send: as few as the limits of the service allow, and of almost equal size. */
function requests() {
  const list = state.list;
  const kinds = fromPairs(list.properties.entries(), ([n, key]) => [key, $(`kind-${n}`).value]);
  const entries = list.entries ?? list.cells.map((cells) => entry(list.columns, cells, kinds));
  const rest = [...list.rest];
  // In a JSON object with a repeated key, the last one is used. So a choice on the page replaces that of the file.
  if ($('step').value) rest.push(`"step_id":${JSON.stringify($('step').value)}`);
  const object = $('object').value.trim();
  if (list.properties.length && object) {
    rest.push(`"custom_data":${JSON.stringify({ custom_object_id: object, resource: $('resource').value })}`);
  }
  const all = entries.length;
  for (let parts = Math.ceil(all / MAX_RECIPIENTS); ; parts = Math.min(all, parts * 2)) {
    const bodies = [];
    for (let part = 0, from = 0; part < parts; part += 1) {
      const to = from + Math.floor(all / parts) + (part < all % parts ? 1 : 0);
      const text = `{${[`"to":[${entries.slice(from, to).join()}]`, ...rest].join()}}`;
      bodies.push({ from, to, run: 0, bytes: new TextEncoder().encode(text) });
      from = to;
    }
    if (parts === all || bodies.every(({ bytes }) => bytes.length <= MAX_BYTES)) return bodies;
  }
}

// ---- Preview and enrollment

async function preview() {
  clearErrors();
  forgetResult();
  if (!chosen()) return showError('sequence', 'Choose a sequence.');
  if (!state.list) return showError('list', 'Choose a file first.');
  await runExclusive('Checking each recipient…', async () => {
    const plan = { path: `/v1/sequences/${$('sequence').value}/contacts`, bodies: requests(), sequence: chosen() };
    const outcomes = [];
    for (const part of plan.bodies) {
      setProgress(part.from);
      const { body } = await call(`${plan.path}?preview=true`, { body: part.bytes }, part);
      const report = body.data.report ?? body.data;
      part.acceptedKeys = report.accepted_keys ?? [];
      outcomes.push(...toListOutcomes(report.outcomes, part));
    }
    state.plan = plan;
    return () => showResult({ outcomes });
  });
}

/** Enrolls again with new keys: the rejected requests if there are any, else all. */
function enrollOnceMore() {
  const rejected = state.plan.bodies.filter(({ ended }) => ended === 'rejected');
  for (const part of rejected.length ? rejected : state.plan.bodies) part.run += 1;
  enroll();
}

async function enroll() {
  if (!state.plan) return;
  clearErrors();
  await runExclusive('Sending the list…', async () => {
    const { path, bodies, sequence } = state.plan;
    const start = Date.now();
    let earlier = null;
    for (const part of bodies) {
      const key = ['page', sequence.id, part.from, part.run, fingerprint(part.bytes)].join('-');
      const headers = { 'Idempotency-Key': key };
      const answer = await call(path, { body: part.bytes, headers }, part).catch((error) => {
        const last = state.list.rows[part.from - 1];
        error.more = part.from ? `${capitalize(plural(state.list.word))} up to ${last} are accepted. Press the button again to continue after them.` : '';
        throw error;
      });
      part.id = answer.body.data.enrollment_id;
      const accepted = Date.parse(answer.body.data.accepted_at);
      // By the clock of the service, a receipt that is older than this run belongs to an earlier run.
      if (Date.parse(answer.headers.get('date')) - accepted > Date.now() - start + 2000) earlier = accepted;
    }
    const done = { outcomes: [], tags: [], failures: [], earlier, enrolled: true };
    for (const part of bodies) await waitForEnd(part, done);
    return () => showResult(done);
  });
}

/** Waits until an enrollment ends, and collects its outcomes. */
async function waitForEnd(part, done) {
  const path = `/v1/enrollments/${part.id}`;
  let pause = 150;
  for (;;) {
    setProgress(part.from);
    const { body: { data } } = await call(`${path}?limit=1`);
    setStatus(`Accepted. Enrolling… ${describeError(data.error)}`.trim());
    part.ended = data.state;
    if (data.state === 'rejected' || data.state === 'failed') {
      const how = data.state === 'rejected' ? 'was rejected' : 'failed';
      done.failures.push(`The enrollment of ${span(part)} ${how}. None of them were enrolled. ${describeError(data.error)}`);
      return;
    }
    if (data.state === 'completed') {
      if (data.upload_tag) done.tags.push(data.upload_tag.name);
      part.acceptedKeys = data.accepted_keys;
      break;
    }
    await sleep(pause);
    pause = Math.min(pause * 1.5, 2000);
  }
  for (let offset = 0; offset < part.to - part.from;) {
    const { body: { data } } = await call(`${path}?limit=${PAGE_LIMIT}&offset=${offset}`);
    if (!data.outcomes.length) return;
    done.outcomes.push(...toListOutcomes(data.outcomes, part));
    offset += data.outcomes.length;
  }
}

/** Converts the outcomes of one request: the index becomes that of the whole list. */
function toListOutcomes(outcomes, part) {
  return outcomes.map((outcome) => describe({ ...outcome, part, index: outcome.index + part.from }));
}

/** Adds the texts of the table to an outcome. */
function describe(outcome) {
  const { list } = state;
  const cell = (field) => list.cells[outcome.index][list.columns.indexOf(field)]?.trim() ?? '';
  const row = (index) => `${list.word} ${list.rows[index + outcome.part.from]}`;
  const step = (id) => state.sequences.flatMap(({ steps }) => steps).find((each) => each.id === id)?.position ?? id;
  const format = {
    fault: (fault) => FAULTS[fault] ?? fault, key: (key) => KEYS[key] ?? key, step_id: step, recipient: row,
    seconds: (s) => (s % 86400 ? count(Math.ceil(s / 3600), 'hour') : count(s / 86400, 'day')),
    faults: (faults) => faults.map(describeFault).join('; '),
    more: (keys) => (keys ? `; and ${keys} more` : ''),
    accepted: () => outcome.part.acceptedKeys.map((key) => `“${key}”`).join(', ') || 'no properties',
  };
  const textOf = (table, part) => (each) => (TEXTS[table][each.code]?.[part] ?? (part ? '' : each.code))
    .replace(/\{(\w+)\}/g, (_, name) => String(format[name]?.(each[name]) ?? each[name]));
  const [reasons, notes] = [outcome.reasons ?? [], outcome.notes ?? []];
  const reasonTexts = reasons.map(textOf('reasons', 0));
  if (outcome.duplicate_of !== undefined && outcome.duplicate_of !== null) {
    reasonTexts.push(`The same person as ${row(outcome.duplicate_of)}.`);
  }
  const contact = [cell('phone'), cell('email'), cell('external_id')].filter(Boolean);
  const name = cell('name') || contact.shift() || '(blank)';
  const noteTexts = notes.map(textOf('notes', 0));
  const hints = [...reasons.map(textOf('reasons', 1)), ...notes.map(textOf('notes', 1))].filter(Boolean);
  const all = [name, ...contact, DISPOSITIONS[outcome.disposition], ...reasonTexts, ...noteTexts].join(' ').toLowerCase();
  return { ...outcome, row: list.rows[outcome.index], name, contact: contact.join(' · '), reasonTexts, noteTexts, hints, all };
}

function describeFault({ key, problem, given, wanted }) {
  const details = [given && `given ${given}`, wanted && `wanted ${wanted}`].filter(Boolean).join(', ');
  return `“${key}” ${PROBLEMS[problem] ?? problem}${details && ` (${details})`}`;
}

// ---- The result

function showResult(done) {
  state.result = done;
  const { outcomes } = done;
  const countWhere = (test) => outcomes.filter(test).length;
  const ignored = countWhere(({ disposition }) => disposition === 'ignored');
  const enrolled = outcomes.length - ignored - countWhere(({ disposition }) => disposition === 'duplicate');
  const whole = `${number(enrolled)} of ${count(state.list.rows.length, 'person', 'people')}`;
  const rejected = state.plan.bodies.some(({ ended }) => ended === 'rejected');
  const parts = state.plan.bodies.length;
  const more = [];
  if (!done.enrolled && parts > 1) {
    more.push(`The list is sent as ${parts} requests. The previews are independent: a new person in two requests `
      + 'is shown as new in both, but becomes one contact.');
  }
  if (done.earlier) {
    const when = new Date(done.earlier).toLocaleString('en-GB', { dateStyle: 'long', timeStyle: 'short' });
    more.push(`The same list was accepted before, on ${when}. This is its result. No one was enrolled twice.`);
  }
  for (const tag of done.tags ?? []) more.push(`Their tag is “${tag}”.`);
  $('result-title').textContent = done.enrolled ? `Enrolled: ${whole}` : `Preview: ${whole} would be enrolled`;
  const contacts = count(countWhere((outcome) => outcome.contact_created), 'new contact');
  const conversations = count(countWhere((outcome) => outcome.conversation_created), 'new conversation');
  const created = `${contacts}, ${conversations}.`;
  $('result-text').textContent = done.enrolled ? created : `Nothing has been written yet. ${created}`;
  $('result-more').replaceChildren(...more.map((text) => make('li', text)));
  setButton('enroll', !done.enrolled && enrolled > 0 && `Enroll ${count(enrolled, 'person', 'people')}`);
  setButton('again', done.enrolled && ((rejected && 'Try the rejected people again') || (done.earlier && 'Enroll the list again')));
  const fixable = countWhere(canBeFixed);
  setButton('download', fixable > 0 && `Download ${number(fixable)} to fix`);
  $('row-word').textContent = capitalize(state.list.word);
  const counts = Object.entries(SHOWN).map(([name, [text, test]]) => [name, text, outcomes.filter(test).length]);
  const tiles = counts.filter(([name, , n]) => n || name === 'all').map(tile);
  $('counts').replaceChildren($('counts').firstElementChild, ...tiles);
  $('search').value = '';
  $('result').hidden = false;
  if (done.failures?.length) showError('failure', done.failures);
  render(PAGE);
  $('result-title').focus({ preventScroll: true });
  $(done.failures?.length ? 'failure' : 'result').scrollIntoView();
}

/** Returns a count, which is also a filter for the table. */
function tile([name, text, n]) {
  const [box, radio] = [make('label'), make('input')];
  Object.assign(radio, { type: 'radio', name: 'shown', value: name, checked: name === 'all' });
  box.className = `tile ${name}`;
  box.append(radio, make('strong', number(n)), make('span', text));
  return box;
}

function matching() {
  const [, test] = SHOWN[document.querySelector('input[name=shown]:checked')?.value ?? 'all'];
  const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  return state.result.outcomes.filter((outcome) => test(outcome) && words.every((word) => outcome.all.includes(word)));
}

function render(limit) {
  const found = matching();
  const lines = found.slice(0, limit).map((outcome) => {
    const line = make('tr');
    line.setAttribute('role', 'row');
    const badge = make('span', DISPOSITIONS[outcome.disposition] ?? outcome.disposition);
    badge.className = `badge ${outcome.disposition}`;
    const notes = outcome.noteTexts.map((text) => Object.assign(make('p', text), { className: 'note' }));
    const cells = [[String(outcome.row)], [make('strong', outcome.name), make('span', outcome.contact)], [badge],
      [...outcome.reasonTexts.map((text) => make('p', text)), ...notes]];
    line.append(...cells.map((content) => {
      const cell = make('td');
      cell.setAttribute('role', 'cell');
      cell.dataset.word = state.list.word;
      cell.append(...content);
      return cell;
    }));
    return line;
  });
  $('rows').replaceChildren(...lines);
  const shown = `${number(lines.length)} of ${count(found.length, 'recipient')} shown`;
  $('shown').textContent = found.length ? shown : 'No recipient matches.';
  setButton('more', found.length > lines.length && `Show ${number(Math.min(PAGE, found.length - lines.length))} more`);
}

function showMore() {
  const shown = $('rows').children.length;
  render(shown + PAGE);
  // If the button is hidden now, move the focus to the first new row.
  if ($('more').hidden) { $('rows').children[shown].tabIndex = -1; $('rows').children[shown].focus(); }
}

/** Returns true if a person can be enrolled after a correction of their row. */
function canBeFixed({ disposition, reasons }) {
  return disposition === 'ignored' && reasons.every(({ code }) => FIXABLE.has(code));
}

function download() {
  const { header, cells, rows, name } = state.list;
  const kept = header.map((_, n) => n).filter((n) => !header[n].startsWith(FIX));
  const lines = [[...kept.map((n) => header[n]), `${FIX}row`, `${FIX}reason`, `${FIX}hint`]];
  for (const outcome of state.result.outcomes.filter(canBeFixed)) {
    const text = [...outcome.reasonTexts, ...outcome.noteTexts].join(' ');
    const row = cells[outcome.index];
    lines.push([...kept.map((n) => row[n]), String(rows[outcome.index]), text, outcome.hints.join(' ')]);
  }
  const link = make('a');
  link.href = URL.createObjectURL(new Blob([writeCsv(lines)], { type: 'text/csv;charset=utf-8' }));
  link.download = `${name.replace(/\.(csv|json)$/i, '')}-to-fix.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function forgetResult() {
  state.plan = null;
  state.result = null;
  $('result').hidden = true;
}

// ---- The service

/** Sends a request. If the service is busy, waits for `Retry-After` and sends it again: each request here is idempotent. */
async function call(path, { body, headers = {} } = {}, part) {
  for (let attempt = 1; ; attempt += 1) {
    let response;
    try {
      response = await fetch(path, {
        method: body ? 'POST' : 'GET', body, cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(60_000),
        headers: { ...headers, [KEY_HEADER]: state.key, ...(body && { 'Content-Type': 'application/json' }) },
      });
    } catch {
      const description = 'The service cannot be reached. Try again: no one is enrolled twice.';
      throw new ServiceError(0, [{ description }], part);
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer) return { body: answer, headers: response.headers };
    if (![429, 503].includes(response.status) || attempt >= 8) throw new ServiceError(response.status, answer?.errors, part);
    const seconds = Math.min(Number(response.headers.get('retry-after')) || attempt, 60);
    setStatus(`The service is busy. Trying again in ${count(seconds, 'second')}…`);
    await sleep(seconds * 1000);
  }
}

/** An error response, with its faults. */
class ServiceError extends Error {
  constructor(status, errors, part) {
    super(`status ${status}`);
    this.status = status;
    this.part = part;
    this.errors = errors?.length ? errors : [{ description: `The service answered with status ${status}.` }];
  }
}

/** Shows each fault at its form field. */
function showServiceError(error) {
  if (error.status === 401) {
    sessionStorage.removeItem('key');
    return showError('key', 'This key is unknown or was revoked.');
  }
  const groups = new Map();
  for (const { path = '', code = '', description } of error.errors) {
    const at = /^\/to\/(\d+)(.*)/.exec(path);
    const known = FIELD_OF.find(([start]) => (path + code).startsWith(start))?.[1] ?? 'failure';
    const field = at || (known === 'object' && $('custom').hidden) ? 'list' : known;
    const inner = at?.[2].slice(1).replaceAll('/', '.');
    const text = inner && !description.includes(`\`${inner}\``) ? `${inner}: ${description}` : description;
    const group = groups.get(field + text) ?? { field, text, rows: [] };
    if (at) group.rows.push(Number(at[1]) + (error.part?.from ?? 0));
    groups.set(field + text, group);
  }
  const linesOf = new Map();
  for (const { field, text, rows } of groups.values()) {
    const where = rows.length ? `${capitalize(ranges(rows.map((n) => state.list.rows[n])))}: ${text}` : capitalize(text);
    linesOf.set(field, [...(linesOf.get(field) ?? []), /[.!?]$/.test(where) ? where : `${where}.`]);
  }
  const fields = [...linesOf.keys()];
  for (const field of fields.reverse()) {
    const lines = linesOf.get(field);
    const over = lines.length - 12;
    showError(field, over > 0 ? [...lines.slice(0, 12), `And ${over} more.`] : lines, error.more);
  }
}

/** `row 4`, `rows 2–10 and 14`, `rows 2, 4, 6, 8 and 96 more` */
function ranges(rows) {
  const spans = [];
  for (const row of rows) {
    const last = spans.at(-1);
    if (last && last[1] === row - 1) last[1] = row; else spans.push([row, row]);
  }
  const word = rows.length === 1 ? state.list.word : plural(state.list.word);
  const texts = spans.slice(0, 6).map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`));
  const rest = spans.slice(6).reduce((sum, [a, b]) => sum + b - a + 1, 0);
  return `${word} ${texts.join(', ')}${rest ? ` and ${number(rest)} more` : ''}`;
}

/** Returns the text of an error of an enrollment, in any of its shapes. */
function describeError(error) {
  if (!error) return '';
  if (typeof error === 'string') return `${capitalize(error)}.`;
  const faults = Array.isArray(error) ? error : error.errors ?? [error];
  return faults.map((fault) => `${capitalize(fault.description ?? fault.code ?? String(fault))}.`).join(' ');
}

// ---- The page

/** Runs one task at a time and shows its status. The task returns a function that shows its result. */
async function runExclusive(text, work) {
  if (state.busy) return;
  state.busy = true;
  $('progress').classList.remove('unseen');
  $('bar').removeAttribute('value');
  setStatus(text);
  for (const id of FORMS) $(id).inert = true;
  let show;
  try {
    show = await work();
  } catch (error) {
    show = () => { if (error instanceof ServiceError) showServiceError(error); else throw error; };
  } finally {
    state.busy = false;
    $('progress').classList.add('unseen');
    setStatus('');
    for (const id of FORMS) $(id).inert = false;
  }
  show();
}

function setStatus(text) {
  if ($('status').textContent !== text) $('status').textContent = text;
}

function setProgress(done) {
  if (state.list.rows.length <= MAX_RECIPIENTS) return;
  $('bar').max = state.list.rows.length;
  $('bar').value = done;
}

/** Shows an error at its field, and moves the focus there. */
function showError(field, lines, more) {
  const place = $(`${field}-error`) ?? $('failure');
  place.replaceChildren(...[lines, more].flat().filter(Boolean).map((line) => make('span', line)));
  place.hidden = false;
  const control = $(field === 'list' ? 'drop' : field);
  if (field !== 'failure') control.setAttribute('aria-invalid', 'true');
  control.focus();
}

function clearErrors() {
  for (const place of document.querySelectorAll('.error[role=alert]')) { place.hidden = true; place.replaceChildren(); }
  for (const control of document.querySelectorAll('[aria-invalid]')) control.removeAttribute('aria-invalid');
}

/** Sets the text of a button, or hides the button if there is no text. */
function setButton(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text || '';
}

function $(id) { return document.getElementById(id); }
function on(id, event, then) { $(id).addEventListener(event, then); }
function sleep(ms) { return new Promise((done) => { setTimeout(done, ms); }); }
function make(name, text = '') { return Object.assign(document.createElement(name), { textContent: text }); }
function fromPairs(list, pair) { return Object.fromEntries([...list].map(pair)); }
function capitalize(text) { return text.charAt(0).toUpperCase() + text.slice(1); }
function span({ from, to }) { return ranges(state.list.rows.slice(from, to)); }
