// A list that was accepted: its progress, its result, and its downloads.

import { PAGE_LIMIT, ServiceError, call, download } from './api.js';
import { announce, count, fill, h, instant, notice, number, people, sentence, sleep } from './dom.js';
import { badge, countsText, enrolledOf } from './history.js';
import { organization, sequenceTitle, stepPosition } from './organization.js';
import { AllPeople, PagedPeople, personOfRow } from './people.js';
import { PeopleTable, allTexts } from './people_table.js';
import { CHANNEL_KINDS } from './texts.js';

/** The number of people that can be searched and sorted in the browser. */
const MOST_IN_MEMORY = 4000;

export async function acceptedList(main, { parameters: [id], signal }) {
  const path = `/v1/lists/${id}`;
  const own = await organization();
  let list = await read().catch((error) => {
    // A list that the command line enrolled is known by its first request only.
    if (error instanceof ServiceError && error.code === 'list_not_found') location.replace(`#/enrollments/${id}`);
    throw error;
  });
  const title = h('h1', {}, list.file);
  const lead = h('p', { class: 'lead' });
  const notices = h('div');
  const status = h('p', { role: 'status', class: 'status' });
  const bar = h('progress', { 'aria-label': 'Progress of the enrollment' });
  const progress = h('div', { class: 'progress' }, status, bar);
  const actions = h('div', { class: 'actions' });
  const place = h('div');
  fill(main, title, lead, progress, notices, actions, place);
  follow().catch(failed);

  async function read(parameters = { limit: 1 }) {
    return (await call(`${path}?${new URLSearchParams(parameters)}`, { signal })).data;
  }

  function failed(error) {
    if (!signal.aborted) fill(notices, notice('bad', sentence(error.message)));
  }

  /** Waits until all requests of the list have ended. */
  async function follow() {
    for (let pause = 200; ; pause = Math.min(pause * 1.5, 2000)) {
      lead.replaceChildren(badge(list.state), ` Accepted on ${instant(list.accepted_at)}, into “${sequenceTitle(own, list.sequence_id)}”. `, optionsText(list));
      if (list.state !== 'accepted') break;
      const text = `Enrolling ${people(list.recipients)}${list.requests > 1 ? `: ${number(list.requests_completed)} of ${number(list.requests)} parts done` : ''}…`;
      progress.hidden = false;
      if (status.textContent !== text) status.textContent = text;
      if (list.requests > 1) Object.assign(bar, { max: list.requests, value: list.requests_completed });
      await sleep(pause, signal);
      list = await read();
    }
    progress.hidden = true;
    await show();
  }

  async function show() {
    const counts = { ...list.counts, set_aside: list.set_aside };
    const all = list.recipients + list.set_aside;
    const ended = ['added', 're_added', 'reprocessed', 'ignored', 'duplicate'].reduce((sum, name) => sum + (counts[name] ?? 0), 0);
    if (list.recipients > ended) counts.pending = list.recipients - ended;
    title.textContent = `Enrolled: ${enrolledOf(counts, all)}`;
    document.title = `${title.textContent} · enroll`;
    const tag = list.upload_tag?.name ?? list.upload_tag;
    lead.append(h('br'), `File ${list.file}. ${countsText(list.counts)}${tag ? ` In your contacts, these people have the tag “${tag}”.` : ''}`);
    const problems = (list.enrollments ?? []).filter(({ state }) => state === 'failed' || state === 'rejected')
      .map(({ state, recipients, error }) => h('p', {}, `${people(recipients)} were not enrolled: the request ${state === 'failed' ? 'failed' : 'was rejected'}. `, (error?.errors ?? []).map(({ description }) => sentence(description)).join(' ')));
    fill(notices, ...(problems.length ? [notice('bad', problems)] : []));
    const name = list.file.replace(/\.[a-z]+$/i, '');
    fill(actions, 
      list.state === 'failed' ? h('button', { type: 'button', class: 'primary', on: { click: retry } }, 'Retry what failed') : '',
      saver('rows.csv', `${name}-result.csv`, 'Download all rows'), saver('to_fix.csv', `${name}-to-fix.csv`, 'Download the rows to fix'),
      h('a', { class: 'button', href: '#/new' }, 'New list'));
    const context = { step: (step) => stepPosition(own, step), acceptedKeys: list.accepted_keys, isEnrolled: true };
    const columns = list.inspection?.columns ?? [];
    const peopleOf = (page) => {
      const contacts = new Map(page.contacts.map((contact) => [contact.id, contact]));
      return page.rows.map((row) => personOfRow(row, columns, { ...context, contacts }));
    };
    let source;
    if (all <= MOST_IN_MEMORY) {
      const everyone = [];
      do {
        const page = await read({ limit: PAGE_LIMIT, offset: everyone.length });
        if (!page.rows.length) break;
        everyone.push(...peopleOf(page));
      } while (everyone.length < all);
      counts.noted = everyone.filter(({ notes }) => notes.length).length;
      source = new AllPeople(everyone);
    } else {
      source = new PagedPeople(async (filter) => {
        const page = await read(filter);
        return { people: peopleOf(page), total: page.total };
      });
    }
    const table = new PeopleTable({ source, counts, caption: `What became of ${people(all)}`, phone: 'Number used', details: allTexts });
    fill(place, table.element);
    signal.addEventListener('abort', () => table.stop());
    await table.start();
    announce(title.textContent);
  }

  function saver(file, name, text) {
    const button = h('button', { type: 'button', id: file.replace('.csv', ''), on: { click: async () => {
      button.disabled = true;
      try { await download(`${path}/${file}`, name); } catch (error) {
        failed(error.code === 'file_not_kept' ? new Error('The file is no longer kept, so its rows cannot be downloaded') : error);
      } finally { button.disabled = false; }
    } } }, text);
    return button;
  }

  async function retry() {
    try {
      await call(`${path}/retry`, { method: 'POST', signal });
      list = await read();
      fill(actions);
      fill(place);
      fill(notices);
      await follow();
    } catch (error) {
      failed(error);
    }
  }

  function optionsText({ options = {}, requests }) {
    const { request = {}, edits = [] } = options;
    const step = request.step_id && own.sequences.flatMap(({ steps }) => steps).find((each) => each.id === request.step_id);
    const parts = [step && `step ${step.position} by ${CHANNEL_KINDS[step.channel_kind] ?? step.channel_kind}`, request.from && `from ${request.from}`,
      request.schedule_at && `scheduled for ${instant(request.schedule_at)}`, edits.length > 0 && `with changes in ${count(new Set(edits.map(({ row }) => row)).size, 'row')}`,
      requests > 1 && `in ${number(requests)} parts`].filter(Boolean);
    return parts.length ? sentence(parts.join(', ')) : '';
  }
}
