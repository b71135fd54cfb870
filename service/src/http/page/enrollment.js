// One enrollment: its state and its outcomes.

import { call } from './api.js';
import { fill, h, instant, notice, people, sentence, sleep } from './dom.js';
import { badge, countsText, enrolledOf } from './history.js';
import { organization, sequenceTitle, stepPosition } from './organization.js';
import { PagedPeople, personOfOutcome } from './people.js';
import { PeopleTable, allTexts } from './people_table.js';

const PAUSE = 1000;

export async function enrollment(main, { parameters: [id], signal }) {
  const [own, { data }] = await Promise.all([organization(), call(`/v1/enrollments/${id}?limit=1`, { signal })]);
  const again = () => enrollment(main, { parameters: [id], signal });
  const problem = h('div');
  const actions = h('div', { class: 'actions' });
  const facts = [h('h1', {}, `Enrollment of ${instant(data.accepted_at)}`),
    h('p', { class: 'lead' }, badge(data.state), ` ${sequenceTitle(own, data.sequence_id)}`), problem, actions];
  // The first request of a list has the id of the list.
  const list = await call(`/v1/lists/${id}?limit=1`, { signal }).catch((error) => { if (error.code === 'list_not_found') return null; throw error; });
  if (list) {
    const { file, set_aside: aside } = list.data;
    facts.splice(2, 0, h('p', {}, 'This is a request of the list ', h('a', { href: `#/lists/${id}` }, file),
      aside > 0 ? `, which has ${people(aside)} more: they were set aside, and are in no request.` : '.'));
  }
  if (data.error) problem.append(notice(data.state === 'accepted' ? 'warn' : 'bad', data.error.errors.map(({ description }) => h('p', {}, sentence(description)))));
  if (data.state === 'failed' && !data.removed_at) {
    actions.append(h('button', { class: 'primary', type: 'button', on: { click: async () => {
      try { await call(`/v1/enrollments/${id}/retry`, { method: 'POST', signal }); await again(); } catch (error) { fill(problem, notice('bad', sentence(error.message))); }
    } } }, 'Retry'));
  }
  if (data.state === 'accepted') {
    fill(main, ...facts, h('p', { role: 'status' }, 'The people are being enrolled…'), h('progress', { 'aria-label': 'Enrolling' }));
    sleep(PAUSE, signal).then(again).catch((error) => { if (!signal.aborted) fill(problem, notice('bad', sentence(error.message))); });
    return;
  }
  if (!data.counts) { fill(main, ...facts); return; }
  const all = ['added', 're_added', 'reprocessed', 'ignored', 'duplicate'].reduce((sum, name) => sum + data.counts[name], 0);
  facts.push(h('p', {}, `Enrolled: ${enrolledOf(data.counts, all)}. ${countsText(data.counts)}${data.upload_tag ? ` In your contacts, these people have the tag “${data.upload_tag.name}”.` : ''}`));
  if (data.removed_at) {
    fill(main, ...facts, h('p', { class: 'hint' }, `The outcomes were removed on ${instant(data.removed_at)}, because they were too old.`));
    return;
  }
  const context = { step: (step) => stepPosition(own, step), acceptedKeys: data.accepted_keys };
  const source = new PagedPeople(async (filter) => {
    const page = (await call(`/v1/enrollments/${id}?${new URLSearchParams(filter)}`, { signal })).data;
    const contacts = new Map(page.contacts.map((contact) => [contact.id, contact]));
    return { people: page.outcomes.map((outcome) => personOfOutcome(outcome, { ...context, contacts })), total: page.total };
  });
  const table = new PeopleTable({ source, counts: data.counts, caption: `Outcomes of ${people(all)}`, word: 'person', phone: 'Phone', details: allTexts });
  fill(main, ...facts, table.element);
  signal.addEventListener('abort', () => table.stop());
  await table.start();
}
