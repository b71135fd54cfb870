// The lists and the enrollments of the organization, newest first.

import { ServiceError, call } from './api.js';
import { count, fill, h, instant, notice, number, people, select, sentence } from './dom.js';
import { organization, sequenceTitle } from './organization.js';
import { STATES } from './texts.js';

const PAGE = 25;
const KINDS = {
  lists: { path: '/v1/lists', title: 'Lists', word: 'list', states: ['accepted', 'completed', 'failed'], empty: 'No list was enrolled yet with this page or over the API.' },
  enrollments: { path: '/v1/enrollments', title: 'Enrollments', word: 'enrollment', states: ['accepted', 'completed', 'rejected', 'failed'], empty: 'No one was enrolled yet.' },
};

export async function history(main, { parameters: [name], signal }) {
  const kind = KINDS[name ?? 'lists'];
  const own = await organization();
  const state = select([{ value: '', text: 'All' }, ...kind.states.map((value) => ({ value, text: STATES[value] }))], '', { id: 'state', on: { change: () => restart() } });
  const body = h('tbody');
  const titles = kind === KINDS.lists ? ['File', 'Sequence', 'State', 'People', 'Accepted', ''] : ['Accepted', 'Sequence', 'State', 'Attempts', 'Problem', ''];
  const table = h('table', { class: 'rows' }, h('caption', { class: 'unseen' }, `${kind.title}, newest first`),
    h('thead', {}, h('tr', {}, titles.map((title) => h('th', { scope: 'col' }, title || h('span', { class: 'unseen' }, 'Actions'))))), body);
  const more = h('button', { type: 'button', hidden: true, on: { click: () => read() } }, 'Show more');
  const total = h('p', { class: 'shown', role: 'status' });
  const problem = h('div');
  let cursor = null;

  async function read() {
    const filter = state.value && `&state=${state.value}`;
    const page = await call(`${kind.path}?limit=${PAGE}${filter}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, { signal });
    const first = body.children.length;
    body.append(...page.data.map((entry) => (kind === KINDS.lists ? listRow(entry) : enrollmentRow(entry))));
    cursor = page.metadata?.next_cursor ?? null;
    more.hidden = !cursor;
    table.hidden = !body.children.length;
    total.textContent = body.children.length ? `${number(body.children.length)} of ${count(page.total, kind.word)}` : kind.empty;
    if (first) body.children[first]?.querySelector('a')?.focus();
  }

  function restart() {
    cursor = null;
    body.replaceChildren();
    return read().catch(failed);
  }

  function failed(error) {
    if (!signal.aborted) fill(problem, notice('bad', sentence(error.message)));
  }

  const cell = (label, ...content) => h('td', { data: { label } }, content);

  function listRow(list) {
    const counts = list.counts ?? {};
    const parts = [['added', 'added'], ['re_added', 'added again'], ['reprocessed', 'started again'], ['ignored', 'ignored'], ['duplicate', 'duplicate']];
    const texts = parts.filter(([code]) => counts[code]).map(([code, text]) => `${number(counts[code])} ${text}`);
    if (list.set_aside) texts.push(`${number(list.set_aside)} set aside`);
    return h('tr', {}, cell('File', h('a', { href: `#/lists/${list.id}` }, list.file)), cell('Sequence', sequenceTitle(own, list.sequence_id)),
      cell('State', badge(list.state), list.state === 'accepted' && h('span', { class: 'soft' }, ` ${number(list.requests_completed)} of ${count(list.requests, 'part')}`)),
      cell('People', h('strong', {}, people(list.recipients + list.set_aside)), texts.length > 0 && h('span', { class: 'soft' }, texts.join(', '))),
      cell('Accepted', instant(list.accepted_at)), cell('', list.state === 'failed' && retryButton(`/v1/lists/${list.id}/retry`, list.file)));
  }

  function enrollmentRow(entry) {
    const what = entry.error?.errors?.map(({ description }) => sentence(description)).join(' ') ?? '';
    return h('tr', {}, cell('Accepted', h('a', { href: `#/enrollments/${entry.id}` }, instant(entry.accepted_at))), cell('Sequence', sequenceTitle(own, entry.sequence_id)),
      cell('State', badge(entry.state)), cell('Attempts', number(entry.attempts)), cell('Problem', what),
      cell('', entry.state === 'failed' && !entry.removed_at && retryButton(`/v1/enrollments/${entry.id}/retry`, instant(entry.accepted_at))));
  }

  function retryButton(path, what) {
    const button = h('button', { type: 'button', on: { click: async () => {
      button.disabled = true;
      try { await call(path, { method: 'POST', signal }); await restart(); } catch (error) { button.disabled = false; failed(error); }
    } } }, 'Retry', h('span', { class: 'unseen' }, ` ${what}`));
    return button;
  }

  const tab = (key, text) => h('a', { href: key === 'lists' ? '#/history' : `#/history/${key}`, 'aria-current': KINDS[key] === kind ? 'page' : undefined }, text);
  const view = [h('h1', {}, 'History'), h('nav', { class: 'tabs', 'aria-label': 'Kind of history' }, tab('lists', 'Lists'), tab('enrollments', 'All enrollments')),
    h('p', { class: 'hint' }, kind === KINDS.lists ? 'Files that were enrolled with this page or over the API. The command line has its lists under “All enrollments”.' : 'Every request, from this page, the API or the command line. A list has one for each 4,000 people.'),
    problem, h('div', { class: 'filters' }, h('div', { class: 'field' }, h('label', { for: 'state' }, 'State'), state)), total, table, h('div', { class: 'actions' }, more)];
  await read().catch((error) => { if (!(error instanceof ServiceError) || error.status === 401) throw error; failed(error); });
  fill(main, ...view);
}

export function badge(state) {
  return h('span', { class: `badge state-${state}` }, STATES[state] ?? state);
}

export function countsText(counts) {
  return counts ? `${count(counts.contacts_created, 'new contact')}, ${count(counts.conversations_created, 'new conversation')}.` : '';
}

export function enrolledOf(counts, all) {
  const enrolled = (counts?.added ?? 0) + (counts?.re_added ?? 0) + (counts?.reprocessed ?? 0);
  return `${number(enrolled)} of ${people(all)}`;
}
