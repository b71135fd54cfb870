// The step that shows what would become of each person. Rows can be changed or dropped, and the list can be enrolled.

import { call, upload } from './api.js';
import { announce, capitalize, count, fill, h, instant, notice, number, people, plural, sentence, sleep } from './dom.js';
import { draft, edit as replaceEdits, fieldOf, finish, listOptions, undo } from './draft.js';
import { placeErrors } from './new_list.js';
import { countsText, enrolledOf } from './history.js';
import { organization, sequenceTitle, stepPosition } from './organization.js';
import { AllPeople, PagedPeople, personOfRow } from './people.js';
import { PeopleTable, allTexts } from './people_table.js';
import { STATES } from './texts.js';

const LIST_WARNINGS = {
  unknown_key: (warning) => `The key ${warning.path ?? ''} of the file is not used.`,
  more_unknown_keys: (warning) => `${count(warning.count, 'other key')} of the file are not used.`,
  properties_unused: (warning) => `The custom data of ${people(warning.count)} is not used: no custom object is chosen.`,
};

export async function preview(content, { signal, previewId }) {
  const own = await organization();
  const title = h('h1', {}, 'Preview');
  const lead = h('p', { class: 'lead' });
  const notices = h('div');
  const changes = h('div', { class: 'changes' });
  const actions = h('div', { class: 'actions' });
  const status = h('p', { role: 'status', class: 'status' });
  const bar = h('progress', { 'aria-label': 'Progress' });
  const progress = h('div', { class: 'progress' }, status, bar);
  const place = h('div');
  let table = null;
  fill(content, title, lead, notices, changes, actions, progress, place);
  signal.addEventListener('abort', () => table?.stop());
  if (previewId) await follow(previewId);
  else if (draft.preview) await show(draft.preview);
  else await run();

  function busy(text, value, max = 1) {
    progress.hidden = !text;
    if (status.textContent !== text) status.textContent = text;
    if (value === undefined) bar.removeAttribute('value'); else { bar.max = max; bar.value = value; }
    for (const part of [actions, changes, place]) part.inert = Boolean(text);
  }

  /** Sends the list for a preview. */
  async function run() {
    draft.errors = [];
    busy(draft.edits.length ? 'Checking again…' : 'Checking each person…');
    try {
      const path = `/v1/lists?sequence_id=${encodeURIComponent(draft.sequenceId)}&preview=true`;
      const { status: code, data } = await upload(path, draft.file, listOptions(), { signal, onProgress: (part) => { if (part < 1) busy('Sending the file…', part); else busy('Checking each person…'); } });
      if (code === 202) {
        window.history.replaceState(null, '', `#/new/preview/${data.preview_id}`);
        return await follow(data.preview_id);
      }
      draft.preview = { data };
      await show(draft.preview);
    } catch (error) {
      await failed(error);
    }
  }

  /** Waits for a preview of a large list. */
  async function follow(id) {
    const cancel = h('button', { type: 'button', on: { click: async () => {
      await call(`/v1/lists/previews/${id}`, { method: 'DELETE' }).catch(() => {});
      draft.preview = null;
      location.hash = draft.file ? '#/new/options' : '#/new';
    } } }, 'Cancel');
    progress.append(cancel);
    try {
      for (let pause = 300; ; pause = Math.min(pause * 1.5, 2000)) {
        const { data } = await call(`/v1/lists/previews/${id}?limit=1`, { signal });
        if (data.state === 'completed') {
          cancel.remove();
          draft.preview = { id, data };
          return await show(draft.preview);
        }
        if (data.state === 'failed') {
          cancel.remove();
          const errors = data.error?.errors ?? [];
          throw Object.assign(new Error(errors.map(({ description }) => sentence(description)).join(' ') || 'The preview failed'), { isFailure: true });
        }
        busy(`Checking ${people(data.recipients)}: ${number(data.recipients_done)} done`, data.recipients_done, data.recipients);
        await sleep(pause, signal);
      }
    } catch (error) {
      cancel.remove();
      await failed(error);
    }
  }

  async function failed(error) {
    if (signal.aborted) return;
    busy('');
    let texts = [error.message];
    if (!error.isFailure) {
      const step = placeErrors(error);
      if (step !== 'preview' && draft.file) { location.hash = `#/new${step && `/${step}`}`; return; }
      texts = draft.errors.map(({ text }) => text);
      if (error.code === 'preview_not_found') texts = ['This preview is no longer kept. Make it again.'];
      draft.errors = [];
    }
    const more = texts.length - 12;
    const box = notice('bad', texts.slice(0, 12).map((text) => h('p', {}, sentence(text))), more > 0 && h('p', {}, `And ${count(more, 'more problem')}.`));
    fill(notices, box);
    fill(actions, draft.file ? h('button', { type: 'button', class: 'primary', on: { click: () => { fill(notices); run(); } } }, 'Try again')
      : h('a', { class: 'button', href: '#/new' }, 'Choose the file again'), draft.file && h('a', { class: 'button', href: '#/new' }, 'Another file'), draft.edits.length ? undoButton() : '');
    box.focus();
  }

  /** Shows a preview. */
  async function show(shown) {
    const { data } = shown;
    const counts = { ...data.counts, set_aside: data.set_aside };
    const total = data.recipients + data.set_aside;
    const enrolled = (counts.added ?? 0) + (counts.re_added ?? 0) + (counts.reprocessed ?? 0);
    const context = { step: (step) => stepPosition(own, step), acceptedKeys: data.accepted_keys };
    const read = (row) => personOfRow(row, data.inspection.columns, context);
    let source;
    if (shown.id) {
      source = new PagedPeople(async (filter) => {
        const page = (await call(`/v1/lists/previews/${shown.id}?${new URLSearchParams(filter)}`, { signal })).data;
        return { people: page.rows.map(read), total: page.total };
      });
    } else {
      const everyone = data.rows.map(read);
      counts.noted = everyone.filter(({ notes }) => notes.length).length;
      source = new AllPeople(everyone);
    }
    // A list that was accepted before has the outcomes of that time.
    title.textContent = data.accepted_before ? `Accepted before: ${enrolledOf(counts, total)} were enrolled` : `Preview: ${enrolledOf(counts, total)} would be enrolled`;
    document.title = `${title.textContent} · enroll`;
    lead.textContent = `Into “${sequenceTitle(own, draft.sequenceId)}”${draft.schedule ? `, on ${instant(draft.schedule)}` : ''}. ${data.accepted_before ? 'If you leave this page now, nothing more happens.' : `Nothing has been written yet. ${countsText(counts)}`}`;
    fill(notices, ...warnings(data), ...(shown.id && !draft.file ? [chooseAgain()] : []));
    showChanges(false);
    showActions(data, enrolled, counts.reprocessed ?? 0);
    busy('');
    if (table && !shown.id) {
      await table.replace(source, counts);
      title.tabIndex = -1;
      title.focus({ preventScroll: true });
    } else {
      table?.stop();
      table = new PeopleTable({ source, counts, caption: `What would become of ${people(total)}`, details: (person) => edit(person, data) });
      fill(place, table.element);
      await table.start();
    }
    announce(title.textContent);
  }

  function warnings(data) {
    const list = (data.warnings ?? []).map((warning) => notice('warn', h('p', {}, LIST_WARNINGS[warning.code]?.(warning) ?? sentence(warning.description ?? warning.code))));
    if (data.accepted_before) {
      const { accepted_at: at, state } = data.accepted_before;
      list.unshift(notice('warn', h('p', {}, h('strong', {}, `This list was accepted before, on ${instant(at)}.`), ` State: ${(STATES[state] ?? state).toLowerCase()}. These are its outcomes. The same list is not enrolled twice, unless you choose to.`),
        h('p', {}, h('a', { href: `#/lists/${data.list_id}` }, 'Show the result'))));
    }
    if (data.counts.reprocessed && !data.accepted_before) list.unshift(inStepAlready(data));
    return list;
  }

  /** Says how many people are in the step already, which lists enrolled them, and offers to leave them out. */
  function inStepAlready(data) {
    const { reprocessed } = data.counts;
    const from = (data.enrolled_before ?? []).slice(0, 5).map(({ list_id: listId, enrollment_id: id, file, accepted_at: at, recipients }) => h('li', {},
      h('a', { href: listId ? `#/lists/${listId}` : `#/enrollments/${id}` }, `${file ? `${file}, ` : ''}enrolled on ${instant(at)}`), `: ${people(recipients)}`));
    const again = data.rows.filter(({ disposition }) => disposition === 'reprocessed');
    const leaveOut = draft.file && again.length === reprocessed && h('p', {}, h('button', { type: 'button', id: 'leave-out', on: { click: () => {
      const rows = new Set(again.map(({ row }) => row));
      replaceEdits([...draft.edits.filter(({ row }) => !rows.has(row)), ...again.map(({ row }) => ({ edit: 'drop_row', row }))]);
      changedRows();
    } } }, `Leave out ${reprocessed === 1 ? 'this person' : `these ${number(reprocessed)} people`}`));
    return notice('warn', h('p', {}, h('strong', {}, `${people(reprocessed)} of this list ${reprocessed === 1 ? 'is' : 'are'} in this step already.`),
      ' If you enroll the list, they start the step again, and can get its message a second time.'), from.length > 0 && h('ul', {}, from), leaveOut);
  }

  function chooseAgain() {
    return notice('warn', h('p', {}, h('strong', {}, `To enroll, choose ${draft.name || 'the file'} again.`), ' A browser does not keep a file when the page is loaded again. Your choices are kept.'),
      h('p', {}, h('a', { href: '#/new' }, 'Choose the file')));
  }

  function showActions(data, enrolled, reprocessed) {
    const parts = [];
    if (draft.file && enrolled > 0) {
      const again = Boolean(data.accepted_before);
      parts.push(h('button', { type: 'button', id: 'enroll', class: again || reprocessed === enrolled ? '' : 'primary', on: { click: () => enroll(again) } }, again ? 'Enroll the list once more' : `Enroll ${people(enrolled)}${reprocessed ? `, ${reprocessed === enrolled ? '' : `${number(reprocessed)} of them `}again` : ''}`));
    }
    parts.push(h('a', { class: 'button', href: '#/new/options' }, 'Change the options'));
    fill(actions, ...parts);
  }

  async function enroll(again) {
    draft.errors = [];
    busy('Sending the list…', 0);
    try {
      // A list is accepted once for each key. Without a key, the same file with the same options is the same list.
      const headers = again ? { 'Idempotency-Key': `page-${crypto.randomUUID()}` } : {};
      const path = `/v1/lists?sequence_id=${encodeURIComponent(draft.sequenceId)}`;
      const { data } = await upload(path, draft.file, listOptions(), { headers, signal, onProgress: (part) => busy('Sending the list…', part) });
      finish();
      location.hash = `#/lists/${data.list_id}`;
    } catch (error) {
      await failed(error);
    }
  }

  // ---- Changes of rows

  function edit(person, data) {
    if (!draft.file || !person.cells) return allTexts(person);
    const used = data.inspection.columns.filter((column) => fieldOf(column) || person.cells[column.position - 1]?.trim());
    const inputs = used.map((column) => {
      const value = person.cells[column.position - 1] ?? '';
      // A text field removes line breaks.
      const lines = value.split(/\r\n|\r|\n/);
      const kind = lines.length > 1 ? { name: 'textarea', rows: Math.min(lines.length, 6) } : { name: 'input' };
      const isFaulty = [...person.reasons, ...person.notes].some((each) => each.remedy && (each.column ? each.column === column.title : each.field && each.field === fieldOf(column)));
      return { column, value, shown: lines.join('\n'), input: h(kind.name, { id: `cell-${column.position}`, value: lines.join('\n'), rows: kind.rows, 'aria-invalid': isFaulty && 'true', autocomplete: 'off', spellcheck: 'false' }) };
    });
    const form = h('form', { novalidate: true, on: { submit: (event) => { event.preventDefault(); save(); } } },
      h('div', { class: 'cells' }, inputs.map(({ column, input }) => h('div', { class: 'field' }, h('label', { for: input.id }, column.title || `Column ${column.position}`), input))),
      h('div', { class: 'actions' }, h('button', { class: 'primary' }, 'Save and check again'), h('button', { type: 'button', on: { click: drop } }, 'Leave this row out'),
        h('button', { type: 'button', on: { click: () => table.close() } }, 'Cancel')));
    return [allTexts(person), form];

    function save() {
      const changedCells = inputs.filter(({ input, shown }) => input.value !== shown);
      if (!changedCells.length) return table.close();
      const positions = new Set(changedCells.map(({ column }) => column.position));
      const others = draft.edits.filter((each) => !(each.row === person.row && positions.has(each.column)));
      replaceEdits([...others, ...changedCells.map(({ column, input }) => ({ edit: 'set_cell', row: person.row, column: column.position, text: input.value }))]);
      return changedRows();
    }

    function drop() {
      replaceEdits([...draft.edits.filter((each) => each.row !== person.row), { edit: 'drop_row', row: person.row }]);
      return changedRows();
    }
  }

  /** A small list is checked again at once. For a large one, a person decides when. */
  async function changedRows() {
    if (draft.preview?.id) {
      table.close();
      showChanges(true);
      return;
    }
    draft.preview = null;
    await run();
  }

  function undoButton() {
    return h('button', { type: 'button', on: { click: () => { undo(); changedRows(); } } }, 'Undo the last change');
  }

  function showChanges(pending) {
    if (!draft.edits.length && !pending) { fill(changes); return; }
    const of = (kind) => [...new Set(draft.edits.filter(({ edit: each }) => each === kind).map(({ row }) => row))].sort((a, b) => a - b);
    const text = (rows, what) => rows.length > 0 && `${capitalize(rows.length === 1 ? 'row' : plural('row'))} ${rows.slice(0, 8).map(number).join(', ')}${rows.length > 8 ? ` and ${number(rows.length - 8)} more` : ''} ${what}.`;
    const texts = [text(of('set_cell'), 'changed'), text(of('drop_row'), 'left out')].filter(Boolean).join(' ');
    fill(changes, h('p', {}, texts, pending && h('strong', {}, ' The preview does not show this yet.')),
      h('div', { class: 'actions' }, pending && h('button', { type: 'button', class: 'primary', on: { click: () => { draft.preview = null; run(); } } }, 'Check again'),
        draft.edits.length > 0 && undoButton(),
        draft.edits.length > 1 && h('button', { type: 'button', on: { click: () => { replaceEdits([]); changedRows(); } } }, 'Undo all changes')));
  }
}
