// The table of people: tiles and a bar of the outcomes, filters, and rows that are rendered in windows.

import { capitalize, count, h, number, people as countPeople, select, sentence } from './dom.js';
import { DISPOSITIONS, DISPOSITION_HINTS, NOTES, READING_NOTES, REASONS, SET_ASIDE, SHORT } from './texts.js';

/** The number of rows above and below the window that are rendered too. */
const MARGIN = 12;
const COLUMNS = [['row', 'Row'], ['name', 'Person'], ['phone', 'Number as read'], ['disposition', 'Outcome'], ['reason', 'Why, and what to do']];

/** Returns a bar and tiles of the counts. `onChoose` gets the outcome of the tile that was chosen. */
export function outcomeTiles(counts, onChoose) {
  const all = Object.keys(DISPOSITIONS).reduce((sum, name) => sum + (counts[name] ?? 0), 0);
  const shown = Object.keys(DISPOSITIONS).filter((name) => counts[name] > 0);
  const summary = shown.map((name) => `${DISPOSITIONS[name]}: ${number(counts[name])}`).join(', ');
  const bar = h('div', { class: 'bar', role: 'img', 'aria-label': `Outcomes of ${countPeople(all)}. ${summary}` },
    shown.map((name) => h('span', { class: name, style: { flexGrow: String(counts[name]) } })));
  const tile = (name, text, n, hint) => h('label', { class: `tile ${name}`, title: hint },
    h('input', { type: 'radio', name: 'shown', value: name, checked: name === 'all', on: { change: () => onChoose(name) } }),
    h('strong', {}, number(n)), h('span', {}, text));
  const tiles = [tile('all', 'All', all), ...shown.map((name) => tile(name, DISPOSITIONS[name], counts[name], DISPOSITION_HINTS[name]))];
  if (counts.noted) tiles.push(tile('noted', 'With a note', counts.noted, 'Enrolled or not, with something to know'));
  return h('fieldset', { class: 'tiles' }, h('legend', { class: 'unseen' }, 'Show people by outcome'), bar, h('div', {}, tiles));
}

/**
 * Shows people. `source` is `AllPeople` or `PagedPeople`.
 *
 * `details` returns what the open row shows below itself. `word` is the name of a row.
 */
export class PeopleTable {
  constructor({ source, counts, caption, word = 'row', phone = 'Number as read', details }) {
    Object.assign(this, { source, caption, word, phone, details, open: null, rows: new Map(), hasSetAside: counts.set_aside > 0 });
    this.filter = { disposition: 'all', reason: '', search: '', sort: 'row', descending: false };
    this.tiles = outcomeTiles(counts, (disposition) => this.change({ disposition }));
    this.shown = h('p', { class: 'shown', role: 'status' });
    this.body = h('div', { role: 'rowgroup', class: 'body' });
    this.table = h('div', { role: 'table', class: `people ${source.canSearch ? '' : 'paged'}`, 'aria-label': caption },
      h('div', { role: 'rowgroup', class: 'head' }, h('div', { role: 'row', 'aria-rowindex': 1 }, this.heads(), h('span', { role: 'columnheader' }, h('span', { class: 'unseen' }, 'Details')))),
      this.body);
    this.element = h('section', { class: 'people-section', 'aria-label': caption }, this.tiles, this.filters(), this.shown, this.table);
    source.onRead = () => this.fill(true);
    this.onScroll = () => { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.fill(); }); };
    this.onResize = () => { this.measure(); this.layOut(); this.fill(true); };
  }

  /** Shows the rows, when the element is in the page. */
  async start() {
    window.addEventListener('scroll', this.onScroll, { passive: true });
    window.addEventListener('resize', this.onResize);
    this.measure();
    await this.apply();
  }

  stop() {
    window.removeEventListener('scroll', this.onScroll);
    window.removeEventListener('resize', this.onResize);
  }

  heads() {
    const texts = { ...Object.fromEntries(COLUMNS), row: capitalize(this.word), phone: this.phone };
    return COLUMNS.map(([name]) => {
      if (!this.source.canSearch) return h('span', { role: 'columnheader', class: name }, texts[name]);
      const button = h('button', { type: 'button', class: 'sort', on: { click: () => this.sort(name) } }, texts[name]);
      return h('span', { role: 'columnheader', class: name, data: { sort: name }, 'aria-sort': name === 'row' ? 'ascending' : 'none' }, button);
    });
  }

  sort(name) {
    const descending = this.filter.sort === name && !this.filter.descending;
    for (const head of this.table.querySelectorAll('[data-sort]')) {
      head.setAttribute('aria-sort', head.dataset.sort === name ? (descending ? 'descending' : 'ascending') : 'none');
    }
    this.change({ sort: name, descending });
  }

  filters() {
    const counts = this.source.reasons();
    const of = (table, label) => {
      const codes = [...Object.keys(table), ...(table === REASONS ? ['duplicate'] : [])].filter((code) => (counts ? counts.has(code) : true));
      return { label, options: codes.map((code) => ({ value: code, text: (SHORT[code] ?? code) + (counts ? ` (${number(counts.get(code))})` : '') })) };
    };
    // The service filters by the reasons of recipients.
    const groups = counts ? [of(REASONS, 'Not enrolled'), of(SET_ASIDE, 'Set aside'), of({ ...NOTES, ...READING_NOTES }, 'Notes')]
      : [{ label: 'Not enrolled', options: of(REASONS, '').options.filter(({ value }) => value !== 'duplicate') }, ...(this.hasSetAside ? [of(SET_ASIDE, 'Set aside')] : [])];
    const reason = select([{ value: '', text: 'All reasons' }, ...groups.filter(({ options }) => options.length)], '',
      { id: 'reason', on: { change: () => this.change({ reason: reason.value }) } });
    const boxes = [h('div', { class: 'field' }, h('label', { for: 'reason' }, 'Reason'), reason)];
    if (this.source.canSearch) {
      const search = h('input', { id: 'search', type: 'search', autocomplete: 'off', placeholder: 'Name, phone, email or reason',
        on: { input: () => this.change({ search: search.value }) } });
      boxes.unshift(h('div', { class: 'field' }, h('label', { for: 'search' }, 'Search'), search));
    }
    return h('div', { class: 'filters pair' }, boxes);
  }

  change(change) {
    Object.assign(this.filter, change);
    this.open = null;
    return this.apply().catch((error) => { this.shown.textContent = sentence(error.message); });
  }

  /** Replaces the people, such as after another preview. The filters stay. */
  async replace(source, counts) {
    this.source = source;
    source.onRead = () => this.fill(true);
    const chosen = this.filter.disposition;
    const tiles = outcomeTiles(counts, (disposition) => this.change({ disposition }));
    this.tiles.replaceWith(tiles);
    this.tiles = tiles;
    const radio = tiles.querySelector(`input[value="${chosen}"]`);
    if (radio) radio.checked = true; else this.filter.disposition = 'all';
    this.open = null;
    await this.apply();
  }

  async apply() {
    await this.source.query(this.filter);
    this.layOut();
    this.clear();
    this.fill(true);
    const { total } = this.source;
    this.shown.textContent = total ? `${count(total, 'row')} shown` : 'No row matches.';
    this.table.hidden = total === 0;
  }

  /** Reads the heights of rows from the style sheet. */
  measure() {
    const style = getComputedStyle(this.table);
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const pixels = (name) => Math.round(parseFloat(style.getPropertyValue(name)) * rem);
    // For each number of lines of reasons and remedies, the height of a row.
    this.heights = [0, 1, 2, 3, 4].map((lines) => pixels(`--lines-${lines}`));
    const head = this.table.querySelector('.head .reason');
    const width = head.offsetParent ? head.clientWidth : this.table.clientWidth - 2 * rem;
    // A conservative mean, since lines end at words.
    this.characters = Math.max(Math.floor(width / (rem * 0.49)), 20);
  }

  /** Returns the number of lines of what stands under "why". The rows of a page that is not read yet have the same height. */
  lines(person) {
    if (!this.source.canSearch || !person) return 3;
    const of = (texts) => Math.min(Math.ceil(texts.filter(Boolean).join(' ').length / this.characters), 2);
    const why = [...person.reasons, ...person.notes];
    return of(why.map(({ text }) => text)) + of([...new Set(why.map(({ remedy }) => remedy))]);
  }

  /** Computes where each row begins. */
  layOut() {
    const { total } = this.source;
    this.tops = new Float64Array(total + 1);
    for (let index = 0; index < total; index += 1) {
      const more = this.open?.index === index ? this.open.height : 0;
      this.tops[index + 1] = this.tops[index] + this.heights[this.lines(this.source.canSearch ? this.source.at(index) : null)] + more;
    }
    this.table.setAttribute('aria-rowcount', total + 1);
  }

  indexAt(top) {
    let [low, high] = [0, Math.max(this.source.total - 1, 0)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.tops[middle] <= top) low = middle; else high = middle - 1;
    }
    return low;
  }

  clear() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  /** Renders the rows of the window. With `all`, rows that are rendered already are written again. */
  fill(all = false) {
    const { total } = this.source;
    const above = -this.body.getBoundingClientRect().top;
    const from = total ? Math.max(this.indexAt(Math.max(above, 0)) - MARGIN, 0) : 0;
    const to = total ? Math.min(this.indexAt(Math.max(above + window.innerHeight, 0)) + MARGIN, total) : 0;
    this.body.style.paddingTop = `${this.tops[from]}px`;
    this.body.style.paddingBottom = `${this.tops[total] - this.tops[to]}px`;
    const focused = document.activeElement?.closest('[data-index]')?.dataset.index;
    for (const [index, row] of this.rows) {
      if (index < from || index >= to) { row.remove(); this.rows.delete(index); }
    }
    let before = this.body.firstChild;
    for (let index = from; index < to; index += 1) {
      const known = this.rows.get(index);
      const isOpen = this.open?.index === index;
      if (known && !(all && (!isOpen || !known.classList.contains('open')))) { before = known.nextSibling; continue; }
      const row = this.row(index);
      if (known) known.replaceWith(row); else this.body.insertBefore(row, before);
      this.rows.set(index, row);
      before = row.nextSibling;
    }
    if (focused !== undefined && document.activeElement === document.body) this.rows.get(Number(focused))?.querySelector('.toggle')?.focus({ preventScroll: true });
  }

  row(index) {
    const person = this.source.at(index);
    const isOpen = this.open?.index === index;
    const cell = (name, ...content) => h('div', { role: 'cell', class: name }, content);
    const attributes = { role: 'row', 'aria-rowindex': index + 2, data: { index } };
    if (!person) return h('div', { ...attributes, class: 'entry loading', style: { height: `${this.heights[3]}px` } }, cell('row', ''), cell('name', 'Loading…'), cell('phone'), cell('disposition'), cell('reason'), cell('more'));
    const why = [...person.reasons, ...person.notes.map((note) => ({ ...note, isNote: true }))];
    const texts = why.map(({ text, isNote }) => h('span', { class: isNote ? 'note' : undefined }, text, ' '));
    const remedies = [...new Set(why.map(({ remedy }) => remedy).filter(Boolean))].join(' ');
    const name = this.details ? h('button', { type: 'button', class: 'toggle', 'aria-expanded': String(isOpen), on: { click: () => this.toggle(index) } },
      isOpen ? 'Close' : 'Details', h('span', { class: 'unseen' }, ` of ${this.word} ${person.row}`)) : null;
    const parts = [
      cell('row', h('span', { class: 'unseen' }, `${capitalize(this.word)} `), number(person.row)),
      cell('name', h('strong', {}, person.name), person.contact && h('span', {}, person.contact)),
      cell('phone', person.phone && h('span', {}, person.phone)),
      cell('disposition', h('span', { class: `badge ${person.disposition}` }, DISPOSITIONS[person.disposition] ?? person.disposition)),
      cell('reason', texts.length > 0 && h('p', {}, texts), remedies && h('p', { class: 'remedy' }, remedies)),
      cell('more', name),
    ];
    const row = h('div', { ...attributes, class: `entry ${isOpen ? 'open' : ''}` }, parts);
    row.style.setProperty('--height', `${this.heights[this.lines(person)]}px`);
    if (isOpen) {
      this.open.element ??= h('div', { role: 'cell', class: 'details' }, this.details(person, this));
      row.append(this.open.element);
    }
    return row;
  }

  /** Opens the details of a row, or closes them. */
  toggle(index) {
    const wasOpen = this.open;
    this.open = wasOpen?.index === index ? null : { index, height: 0, element: null };
    for (const each of [wasOpen?.index, index]) {
      const row = each !== undefined && this.rows.get(each);
      if (!row) continue;
      const next = this.row(each);
      row.replaceWith(next);
      this.rows.set(each, next);
    }
    if (this.open) this.open.height = this.open.element.offsetHeight;
    this.layOut();
    this.fill();
    const focus = this.open ? this.open.element.querySelector('[aria-invalid]') ?? this.open.element.querySelector('input, textarea') : null;
    (focus ?? this.rows.get(index)?.querySelector('.toggle'))?.focus({ preventScroll: true });
    if (this.open) this.open.element.scrollIntoView({ block: 'nearest' });
  }

  close() {
    if (this.open) this.toggle(this.open.index);
  }
}

/** Returns the texts of a person in full, for the details of a row. */
export function allTexts(person) {
  const line = ({ text, remedy }, kind) => h('li', { class: kind }, sentence(text), remedy && h('span', { class: 'remedy' }, ` ${remedy}`));
  const facts = [
    DISPOSITION_HINTS[person.disposition] && person.disposition !== 'ignored' && h('li', {}, `${DISPOSITIONS[person.disposition]}: ${DISPOSITION_HINTS[person.disposition].charAt(0).toLowerCase()}${DISPOSITION_HINTS[person.disposition].slice(1)}.`),
    ...person.reasons.map((reason) => line(reason, 'reason')), ...person.notes.map((note) => line(note, 'note')),
    person.phone && h('li', {}, `Phone: ${person.phone}`),
    person.email && h('li', {}, `Email: ${person.email}`),
  ];
  return h('ul', { class: 'texts' }, facts);
}
