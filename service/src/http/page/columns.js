// The step in which each column of the file gets a field.

import { organization } from './organization.js';
import { announce, count, field, fill, h, notice, number, people, select, sentence, showFieldError } from './dom.js';
import { changed, draft, fieldOf, keep } from './draft.js';
import { FIELDS, FORMATS, KEY_FIELDS, fieldName } from './texts.js';
import { NO_ROWS, inspect, placeErrors } from './new_list.js';

const DELIMITERS = [{ value: ',', text: 'Comma' }, { value: ';', text: 'Semicolon' }, { value: 'tab', text: 'Tab' }, { value: '|', text: 'Vertical bar' }];
const ENCODINGS = ['utf-8', 'windows-1252', 'iso-8859-2', 'windows-1250', 'windows-1251', 'macintosh', 'utf-16le', 'utf-16be', 'shift_jis', 'gb18030', 'big5', 'euc-kr'];

export async function columns(content, { signal }) {
  const { inspection } = draft;
  const own = await organization();
  const known = inspection.columns.filter((column) => column.title || column.samples.length);
  const problem = h('div');
  const notes = h('div');
  const rows = known.map((column) => row(column));
  const unread = known.filter((column) => !fieldOf(column) && !column.consent).length;

  fill(content, h('h1', {}, 'What is in the columns?'), h('p', { class: 'lead' }, facts(inspection)), problem, notes, reading(),
    h('table', { class: 'rows columns' }, h('caption', {}, `${count(known.length, 'column')} of ${draft.name}${unread ? `. ${count(unread, 'column')} not used, since no field is known for the title.` : ''}`),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Column'), h('th', { scope: 'col' }, 'First values'), h('th', { scope: 'col' }, 'Used as'))),
      h('tbody', {}, rows)),
    firstRows(), h('div', { class: 'actions' }, h('button', { type: 'button', class: 'primary', on: { click: next } }, 'Continue'), h('a', { class: 'button', href: '#/new' }, 'Another file')));
  fill(notes, warnings());
  for (const error of draft.errors.filter((each) => each.step === 'columns' && each.field)) {
    const control = document.getElementById(error.field);
    if (control) { control.closest('details').open = true; showFieldError(control, sentence(error.text)); control.focus(); }
  }

  function row(column) {
    const chosen = fieldOf(column);
    const groups = [{ value: '', text: column.consent && !draft.mapping[column.position] ? 'Choose what it means…' : 'Not used' },
      ...FIELDS.map(([label, fields]) => ({ label, options: Object.entries(fields).map(([value, text]) => ({ value, text: value === column.suggested ? `${text} (suggested)` : text })) }))];
    // A column about consent is ignored only if a person says so.
    if (column.consent) groups.splice(1, 0, { value: 'ignore', text: 'Not used: enroll these people too' });
    for (const object of own.objects) {
      const options = object.properties.map(({ key, type }) => ({ value: `${object.id}/properties.${key}`, text: `${key} (${type})` }));
      if (options.length) groups.push({ label: `Custom data: ${object.key}`, options });
    }
    let value = chosen === 'ignore' && !column.consent ? '' : chosen;
    if (chosen.startsWith('properties.')) {
      value = own.objects.filter(({ properties }) => properties.some(({ key }) => `properties.${key}` === chosen)).map(({ id }) => `${id}/${chosen}`)
        .find((each) => !draft.object || each.startsWith(draft.object)) ?? chosen;
      const id = value.split('/')[0];
      if (!draft.object && value.includes('/')) { draft.object = id; keep(); }
      if (!value.includes('/')) groups.push({ value, text: `${fieldName(chosen)} (no custom object has it)` });
    }
    const menu = select(groups, value, { id: `column-${column.position}`, 'aria-label': `Use of the column ${column.title || column.position}`, on: { change: () => choose(column, menu) } });
    if (column.consent && !chosen) menu.setAttribute('aria-invalid', 'true');
    const samples = column.samples.slice(0, 3).map((text) => h('span', {}, text));
    return h('tr', { class: value ? '' : 'unused' }, h('th', { scope: 'row', data: { label: 'Column' } }, column.title || `Column ${column.position}, without a title`),
      h('td', { data: { label: 'First values' }, class: 'samples' }, samples.length ? samples : h('span', { class: 'soft' }, 'blank')), h('td', { data: { label: 'Used as' } }, menu));
  }

  function choose(column, menu) {
    const [object, property] = menu.value.includes('/') ? menu.value.split('/') : [null, menu.value];
    if (object) {
      // The properties of one request belong to one custom object.
      if (draft.object && draft.object !== object) {
        for (const [position, each] of Object.entries(draft.mapping)) if (each.startsWith('properties.')) draft.mapping[position] = 'ignore';
      }
      draft.object = object;
    }
    const chosen = property || 'ignore';
    if (chosen === (column.suggested ?? 'ignore') && !column.consent) delete draft.mapping[column.position];
    else draft.mapping[column.position] = chosen;
    if (column.consent && menu.value === '') delete draft.mapping[column.position];
    menu.toggleAttribute('aria-invalid', Boolean(column.consent && !draft.mapping[column.position]));
    menu.closest('tr').classList.toggle('unused', !menu.value);
    fill(problem);
    changed();
    fill(notes, warnings());
  }

  function next() {
    if (!inspection.rows) { fill(problem, notice('bad', sentence(NO_ROWS))); return; }
    const used = known.map(fieldOf);
    const undecided = known.filter((column) => column.consent && !draft.mapping[column.position]);
    if (!used.some((each) => KEY_FIELDS.includes(each))) return refuse('Choose which column is the phone, the email or the external id.', known[0]);
    if (undecided.length) {
      refuse(`Choose what “${undecided[0].title}” means before you continue.`, undecided[0]);
      // The box above says it.
      fill(notes, warnings(undecided[0]));
      return;
    }
    location.hash = '#/new/options';
  }

  function refuse(text, column) {
    fill(problem, notice('bad', text));
    document.getElementById(`column-${column.position}`)?.focus();
  }

  /** The notices that still ask for something. */
  function warnings(except) {
    const decided = (position) => draft.mapping[position] || position === except?.position;
    const open = ({ code, position }) => !['unknown_column', 'no_key_column'].includes(code) && !(code === 'consent_not_mapped' && decided(position));
    return inspection.warnings.filter(open).map((warning) => {
      if (warning.code === 'encoding_guessed') {
        const examples = warning.examples.map(({ row: line, text }) => h('li', {}, `Row ${line}: ${text}`));
        return notice('warn', h('p', {}, `The file does not say how its letters are written. Check that these cells are right. If not, choose another encoding below.`), h('ul', {}, examples));
      }
      if (warning.code === 'consent_not_mapped') return notice('warn', h('p', {}, `“${warning.title}” may say who must not be contacted. Choose what it means.`));
      return notice('warn', h('p', {}, sentence(warning.description)));
    });
  }

  /** How the file is read, if the service could not find it. */
  function reading() {
    const { sheets = [] } = inspection;
    const parts = [];
    const again = (name) => async (event) => {
      draft.options[name] = event.target.value;
      // Another sheet or delimiter has other columns.
      if (name !== 'encoding') Object.assign(draft, { mapping: {}, edits: [], undo: [] });
      changed();
      announce('Reading the file again…');
      try {
        draft.errors = [];
        await inspect(signal);
      } catch (error) {
        if (signal.aborted) return;
        placeErrors(error);
        delete draft.options[name];
        keep();
        showFieldError(event.target, sentence(draft.errors[0].text));
        draft.errors = [];
        return;
      }
      await columns(content, { signal });
      document.getElementById(name)?.focus();
    };
    if (sheets.length > 1) parts.push(field('Sheet', select(sheets.map((value) => ({ value, text: value })), inspection.sheet, { id: 'sheet', on: { change: again('sheet') } })));
    if (inspection.encoding) {
      const names = [...new Set([inspection.encoding.toLowerCase(), ...ENCODINGS])];
      parts.push(field('Encoding', select(names.map((value) => ({ value, text: value.toUpperCase() })), inspection.encoding.toLowerCase(), { id: 'encoding', on: { change: again('encoding') } })));
    }
    if (inspection.delimiter) parts.push(field('Separator of the cells', select(DELIMITERS, { '\t': 'tab' }[inspection.delimiter] ?? inspection.delimiter, { id: 'delimiter', on: { change: again('delimiter') } })));
    if (!parts.length) return null;
    return h('details', { open: sheets.length > 1 || inspection.encoding_guessed }, h('summary', {}, 'How the file is read'), h('div', { class: 'pair' }, parts));
  }

  function firstRows() {
    if (!inspection.sample_rows?.length) return null;
    const heads = inspection.columns.map(({ title, position }) => h('th', { scope: 'col' }, title || String(position)));
    const lines = inspection.sample_rows.map(({ row: line, cells }) => h('tr', {}, h('th', { scope: 'row' }, line), inspection.columns.map((_, n) => h('td', {}, cells[n] ?? ''))));
    return h('details', {}, h('summary', {}, inspection.sample_rows.length === 1 ? 'The first row of the file' : `The first ${count(inspection.sample_rows.length, 'row')} of the file`),
      h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'The first rows of the file' }, h('table', { class: 'plain' }, h('caption', { class: 'unseen' }, 'The first rows of the file'), h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Row'), heads)), h('tbody', {}, lines))));
  }
}

function facts(inspection) {
  const parts = [`${people(inspection.rows)} in ${FORMATS[inspection.format] ?? inspection.format.toUpperCase()}`];
  if (inspection.sheet) parts.push(`sheet “${inspection.sheet}”`);
  if (inspection.header_row > 1) parts.push(`titles in row ${number(inspection.header_row)}`);
  return `${parts.join(', ')}. Check what each column is used as.`;
}
