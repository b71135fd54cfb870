// A new list, in four steps: the file, its columns, the options, the preview.

import { ServiceError, upload } from './api.js';
import { announce, bytes, fill, h, notice, people, sentence } from './dom.js';
import { draft, keep, kept, readingOptions, refuse, restore, take } from './draft.js';
import { columns } from './columns.js';
import { options } from './options.js';
import { preview } from './preview.js';

export const NO_ROWS = 'the file has titles, but no rows with people below them; add rows, or choose another file';
const STEPS = [['', 'File', file], ['columns', 'Columns', columns], ['options', 'Options', options], ['preview', 'Preview', preview]];

export async function newList(main, { parameters: [step = '', previewId], signal }) {
  if (!draft.name) restore();
  // A preview that the service keeps can be shown without the file.
  const needsFile = step !== '' && !draft.file && !previewId;
  const [name, title, view] = STEPS.find(([each]) => each === (needsFile ? '' : step));
  if (needsFile) window.history.replaceState(null, '', '#/new');
  // The options choose the sequence.
  if (name === 'preview' && !previewId && !draft.sequenceId) { location.replace('#/new/options'); return; }
  const content = h('div', { class: 'step' });
  fill(main, steps(name), content);
  const errors = draft.errors.filter((error) => error.step === name && !error.field);
  if (step !== '' && !needsFile && draft.file && !draft.inspection) await inspect(signal);
  await view(content, { signal, title, previewId });
  if (errors.length) {
    const box = notice('bad', errors.map(({ text }) => h('p', {}, sentence(text))));
    content.querySelector('h1').after(box);
    box.focus();
  }
}

function steps(current) {
  const at = STEPS.findIndex(([name]) => name === current);
  return h('nav', { class: 'steps', 'aria-label': 'Steps' }, h('ol', {}, STEPS.map(([name, title], n) => {
    const text = [h('span', { class: 'number', 'aria-hidden': 'true' }, n + 1), title];
    const href = `#/new${name && `/${name}`}`;
    const reachable = n <= at || draft.inspection;
    return h('li', {}, reachable ? h('a', { href, 'aria-current': n === at ? 'step' : undefined }, text) : h('span', {}, text));
  })));
}

/** Asks the service what the file has. */
export async function inspect(signal, onProgress) {
  draft.inspection = (await upload('/v1/lists/inspect', draft.file, readingOptions(), { signal, onProgress })).data;
  // The suggested fields replace choices for columns that the file does not have.
  const positions = new Set(draft.inspection.columns.map(({ position }) => String(position)));
  draft.mapping = Object.fromEntries(Object.entries(draft.mapping).filter(([position]) => positions.has(position)));
  keep();
}

/** Sorts the errors of an answer to the steps where they can be corrected. Returns the first such step. */
export function placeErrors(error) {
  if (!(error instanceof ServiceError)) throw error;
  draft.errors = error.errors.map(({ path = '', code = '', description }) => {
    const at = /^\/options\/(\w+)(?:\/(\w+))?/.exec(path);
    const rest = description.startsWith(`${draft.name}: `) ? description.slice(draft.name.length + 2) : description;
    const text = /^(is|has|cannot|changed)\b/.test(rest) ? `the file ${rest}` : rest;
    if (at?.[1] === 'mapping') return { step: 'columns', text };
    if (['sheet', 'encoding', 'delimiter'].includes(at?.[1])) return { step: 'columns', field: at[1], text };
    if (at?.[1] === 'edits' || path === '/file') return { step: path === '/file' && !draft.inspection ? '' : 'preview', text };
    if (at?.[1] === 'request') return { step: 'options', field: at[2], text };
    if (at) return { step: 'options', field: at[1], text };
    if (/^(sequence|step)/.test(code) || /sequence/.test(path)) return { step: 'options', field: 'sequence', text };
    return { step: 'preview', text };
  });
  return draft.errors[0].step;
}

async function file(content, { signal }) {
  const input = h('input', { id: 'file', type: 'file', hidden: true,
    accept: '.csv,.tsv,.txt,.xlsx,.xls,.ods,.json,text/csv,application/json', on: { change: () => { choose(input.files[0]); input.value = ''; } } });
  const drop = h('button', { id: 'drop', type: 'button', on: { click: () => input.click() } },
    h('strong', { id: 'file-name' }, 'Choose a list of people'), h('span', { id: 'file-facts' }, 'or drop it here: CSV, Excel, OpenDocument or JSON'));
  const problem = h('div', { id: 'file-problem' });
  const progress = h('progress', { max: 1, hidden: true, 'aria-label': 'Reading the file' });
  const waiting = draft.name && !draft.file;
  const next = h('a', { class: 'button primary', href: '#/new/columns', hidden: !draft.file || !draft.inspection }, 'Continue');
  fill(content, h('h1', {}, 'Enroll a list'),
    h('p', { class: 'lead' }, 'Add people to a step of a sequence. A preview shows what would become of each person, and writes nothing.'),
    waiting && h('div', { id: 'waiting' }, notice('warn', h('p', {}, h('strong', {}, `Choose ${draft.name} again.`), ' A browser does not keep a file when the page is loaded again. Your choices for it are kept.'))),
    drop, input, progress, problem,
    h('p', { class: 'hint' }, 'The columns need titles, such as Phone, Email or Name, in English, German, French, Spanish, Portuguese, Italian or Dutch. ',
      h('a', { href: '/sample.csv', download: 'sample.csv' }, 'Download a sample file')),
    h('div', { class: 'actions' }, next));
  if (draft.file) showFile();

  const over = (on) => () => drop.classList.toggle('over', on);
  window.addEventListener('dragover', over(true), { signal });
  window.addEventListener('dragleave', (event) => { if (!event.relatedTarget) over(false)(); }, { signal });
  window.addEventListener('drop', (event) => { over(false)(); choose(event.dataTransfer.files[0]); }, { signal });

  function refused(chosen, before, texts) {
    refuse(before);
    document.getElementById('file-name').textContent = 'Choose another list of people';
    document.getElementById('file-facts').textContent = 'or drop it here: CSV, Excel, OpenDocument or JSON';
    next.hidden = true;
    fill(problem, notice('bad', h('p', {}, h('strong', {}, `${chosen.name} cannot be used.`)), texts.map((text) => h('p', {}, sentence(text)))));
    drop.focus();
  }

  function showFile() {
    document.getElementById('file-name').textContent = draft.file.name;
    const rows = draft.inspection ? `${people(draft.inspection.rows)} · ` : '';
    document.getElementById('file-facts').textContent = `${rows}${bytes(draft.file.size)}. Choose or drop another file to replace it.`;
  }

  async function choose(chosen) {
    if (!chosen) return;
    const before = waiting && !draft.file ? kept() : {};
    take(chosen);
    document.getElementById('waiting')?.remove();
    showFile();
    fill(problem);
    progress.hidden = false;
    progress.removeAttribute('value');
    announce(`Reading ${chosen.name}…`);
    try {
      await inspect(signal, (part) => { progress.value = part; });
      // Another sheet can have people: the next step has the choice.
      if (!draft.inspection.rows && !(draft.inspection.sheets?.length > 1)) return refused(chosen, before, [NO_ROWS]);
      location.hash = '#/new/columns';
    } catch (error) {
      if (signal.aborted) return;
      placeErrors(error);
      refused(chosen, before, draft.errors.map(({ text }) => text));
    } finally {
      progress.hidden = true;
      announce('');
    }
  }
}
