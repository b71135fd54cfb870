// People of a list or of an enrollment, as the table shows them, and where they come from.

import { DISPOSITIONS, NOTES, READING_NOTES, REASONS, SET_ASIDE, describe } from './texts.js';

const PAGE = 200;
const IMPORT_NOTES = new Set(Object.keys(READING_NOTES));

/** Reads a row of a preview or of a list. `columns` are those of the file. */
export function personOfRow(row, columns, context) {
  const cell = (field) => {
    const found = columns.filter((column) => column.field === field).map((column) => row.cells?.[column.position - 1]?.trim());
    return found.find(Boolean) ?? '';
  };
  const parts = [cell('first_name'), cell('middle_name'), cell('last_name')].filter(Boolean).join(' ');
  // The number as it was read: that of a preview, or of the contact that was enrolled.
  const contact = context.contacts?.get(row.contact_id);
  const phone = row.read_as?.phone ?? contact?.phone ?? '';
  const given = [row.phone || cell('phone'), row.email || cell('email'), cell('external_id')].filter((text) => text && text !== phone);
  const name = row.name || cell('name') || parts;
  const person = {
    row: row.row, disposition: row.disposition, cells: row.cells,
    name: name || given[0] || phone || 'Without a name', contact: (name ? given : given.slice(1)).join(' · '),
    phone, email: row.read_as?.email ?? contact?.email ?? '',
  };
  if (row.disposition === 'set_aside') {
    const known = describe(SET_ASIDE, { ...row.reasons?.[0], description: row.description }, context);
    person.reasons = [{ ...known, text: row.column ? `${row.column}: ${known.text}` : known.text, column: row.column }];
  } else {
    person.reasons = (row.reasons ?? []).map((reason) => describe(REASONS, reason, context));
  }
  person.notes = (row.notes ?? []).map((note) => describe(IMPORT_NOTES.has(note.code ?? note) ? READING_NOTES : NOTES, note, context));
  const isBlank = !name && !given.length && !phone;
  if (isBlank && person.reasons.some(({ code }) => code.startsWith('missing_'))) {
    person.reasons = person.reasons.map((reason) => (reason.code.startsWith('missing_')
      ? { ...reason, text: 'The row has no name, no phone number and no email address.', remedy: `Leave the row out, or add ${reason.code === 'missing_email' ? 'an email address' : 'a phone number'}.` } : reason));
  }
  // A row that was enrolled must not be sent again: the person would get the message a second time.
  if (context.isEnrolled && row.disposition !== 'ignored') person.notes = person.notes.map((note) => ({ ...note, remedy: '' }));
  const repeated = row.repeats_row ?? row.duplicate_of_row;
  if (repeated) person.reasons.push({ code: 'duplicate', text: `The same person as row ${repeated}.`, remedy: '' });
  return searchable(person);
}

/** Reads an outcome of an enrollment that was not sent as a list. */
export function personOfOutcome(outcome, context) {
  const contact = context.contacts?.get(outcome.contact_id);
  const reasons = (outcome.reasons ?? []).map((reason) => describe(REASONS, reason, context));
  if (typeof outcome.duplicate_of === 'number') {
    reasons.push({ code: 'duplicate', text: `The same person as recipient ${outcome.duplicate_of + 1}.`, remedy: '' });
  }
  return searchable({
    row: outcome.index + 1, disposition: outcome.disposition,
    name: contact?.name || contact?.email || contact?.phone || (outcome.contact_id ? 'A contact without a name' : 'Not in the contacts'),
    contact: [contact?.name && contact.email, outcome.contact_created && 'New contact'].filter(Boolean).join(' · '),
    phone: contact?.phone ?? '', email: contact?.email ?? '',
    reasons, notes: (outcome.notes ?? []).map((note) => ({ ...describe(NOTES, note, context), remedy: '' })),
  });
}

function searchable(person) {
  const texts = [person.name, person.contact, person.phone, person.email, DISPOSITIONS[person.disposition],
    ...person.reasons.map(({ text }) => text), ...person.notes.map(({ text }) => text)];
  person.text = texts.join(' ').toLowerCase();
  return person;
}

/** All people are in memory: they can be searched and sorted. */
export class AllPeople {
  constructor(people) {
    this.people = people;
    this.canSearch = true;
    this.query({});
  }

  query({ disposition = 'all', reason = '', search = '', sort = 'row', descending = false }) {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    this.found = this.people.filter((person) => (disposition === 'all' || (disposition === 'noted' ? person.notes.length > 0 : person.disposition === disposition))
      && (!reason || [...person.reasons, ...person.notes].some(({ code }) => code === reason)) && words.every((word) => person.text.includes(word)));
    const order = Object.keys(DISPOSITIONS);
    const by = {
      row: (a, b) => a.row - b.row,
      name: (a, b) => a.name.localeCompare(b.name),
      phone: (a, b) => a.phone.localeCompare(b.phone),
      disposition: (a, b) => order.indexOf(a.disposition) - order.indexOf(b.disposition),
      reason: (a, b) => (a.reasons[0]?.text ?? '\uffff').localeCompare(b.reasons[0]?.text ?? '\uffff'),
    }[sort];
    if (sort !== 'row' || descending) this.found.sort((a, b) => (descending ? by(b, a) : by(a, b)) || a.row - b.row);
    return Promise.resolve();
  }

  get total() { return this.found.length; }

  at(index) { return this.found[index]; }

  /** Returns the codes that occur, with their numbers. */
  reasons() {
    const counts = new Map();
    for (const person of this.people) {
      for (const { code } of [...person.reasons, ...person.notes]) counts.set(code, (counts.get(code) ?? 0) + 1);
    }
    return counts;
  }
}

/** People that the service has: it filters them, and sends the part that is shown. */
export class PagedPeople {
  /** `read` gets the parameters of a page, and returns its people and the total. */
  constructor(read) {
    this.read = read;
    this.canSearch = false;
    this.onRead = () => {};
    this.total = 0;
  }

  async query({ disposition = 'all', reason = '' }) {
    this.filter = { ...(disposition !== 'all' && { disposition }), ...(reason && { reason }) };
    this.pages = new Map();
    const first = this.load(0);
    await first;
  }

  at(index) {
    const page = Math.floor(index / PAGE);
    const people = this.pages.get(page);
    if (!people) this.load(page).then(() => this.onRead(), (error) => this.onError?.(error));
    return Array.isArray(people) ? people[index % PAGE] : null;
  }

  async load(page) {
    const { pages } = this;
    if (pages.has(page)) return;
    pages.set(page, 'loading');
    try {
      const { people, total } = await this.read({ ...this.filter, limit: PAGE, offset: page * PAGE });
      pages.set(page, people);
      if (pages === this.pages) this.total = total;
    } catch (error) {
      pages.delete(page);
      throw error;
    }
  }

  reasons() { return null; }
}
