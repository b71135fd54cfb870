// Lists of people: CSV and JSON in, the entries of a request out. Nothing here knows the page.

/** What the columns that a download adds begin with. */
export const FIX = 'fix.';
const FIELDS = ['phone', 'email', 'name', 'external_id', 'language', 'default_channel_id',
  'address.address_line_one', 'address.address_line_two', 'address.city', 'address.state', 'address.post_code',
  'address.country', 'address.postal_code', 'birth_date.day', 'birth_date.month', 'birth_date.year'];

/** A CSV whose header names the fields of an entry. Rows are counted as a spreadsheet counts them. */
export function readCsv(text) {
  const { records, unclosed } = scanCsv(text.replace(/^\ufeff/, ''));
  if (unclosed) throw new Unread(`has a quote in row ${unclosed} that nothing closes`);
  const header = (records.shift()?.cells ?? []).map((title) => title.trim());
  if (header.every((title) => !title)) {
    throw new Unread('is empty: the first row must name the columns, “phone” for one');
  }
  const columns = header.map(column);
  const unknown = header.filter((_, n) => !columns[n]);
  if (unknown.length) {
    const separated = header.length === 1 && /[;\t]/.test(header[0]);
    const names = unknown.map((title) => `“${title}”`).join(', ');
    throw new Unread(separated ? 'is not separated by commas: save it as “CSV UTF-8 (comma delimited)”'
      : `has columns that are not known: ${names}. “What the file holds” below names those that are`);
  }
  columns.forEach((fills, n) => {
    const first = columns.indexOf(fills);
    if (first === n) return;
    throw new Unread(header[first] === header[n] ? `has the column “${header[n]}” twice`
      : `has the columns “${header[first]}” and “${header[n]}” for the same field`);
  });
  const people = records.filter(({ cells }) => cells.some((cell) => cell.trim()));
  for (const { row, cells } of people) {
    if (cells.length !== header.length) {
      throw new Unread(`has ${count(cells.length, 'cell')} in row ${row}, but the header has ${header.length}`);
    }
    columns.forEach((fills, n) => {
      if (fills.startsWith('birth_date.') && cells[n].trim() && !/^\s*[+-]?\d+\s*$/.test(cells[n])) {
        throw new Unread(`has “${cells[n].trim()}” in row ${row}, column “${header[n]}”, which is not a whole number`);
      }
    });
  }
  if (!people.length) throw new Unread('has a header and no people below it');
  const properties = columns.filter((fills) => fills.startsWith('properties.')).map((fills) => fills.slice(11));
  const [rows, cells] = [people.map(({ row }) => row), people.map((record) => record.cells)];
  return { word: 'row', header, columns, properties, rows, cells, rest: [] };
}

/** What a column fills; undefined if it is not known. What a download has added is left out. */
function column(title) {
  if (title.startsWith(FIX)) return title;
  if (title.startsWith('properties.') && title.length > 11) return title;
  const field = FIELDS.find((name) => name === title || name === `address.${title}`);
  return field === 'address.postal_code' ? 'address.post_code' : field;
}

/** RFC 4180: the records that are not empty lines, each with its row. */
export function scanCsv(text) {
  const records = [];
  let [row, record, cell, at] = [1, null, '', 'row'];
  const end = () => { if (record) record.cells.push(cell); [record, cell, at] = [null, '', 'row']; };
  for (let n = 0; n < text.length; n += 1) {
    const c = text[n];
    if (at !== 'quoted' && (c === '\n' || c === '\r')) {
      if (c === '\r' && text[n + 1] === '\n') n += 1;
      end();
      row += 1;
      continue;
    }
    if (!record) records.push(record = { row, cells: [] });
    if (at === 'quoted' && c !== '"') cell += c;
    else if (at === 'quoted') at = 'quote';
    else if (c === '"' && at !== 'plain') { if (at === 'quote') cell += c; at = 'quoted'; }
    else if (c === ',') { record.cells.push(cell); [cell, at] = ['', 'cell']; }
    else { cell += c; at = 'plain'; }
  }
  const unclosed = at === 'quoted' ? record.row : null;
  end();
  return { records, unclosed };
}

/** A request, or the list of its entries. Both are taken apart as text, so that numbers keep their spelling. */
export function readJson(text) {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new Unread(`is not JSON: ${error.message}`); }
  let [list, rest] = [text, []];
  if (!Array.isArray(value)) {
    if (!Array.isArray(value?.to)) throw new Unread('is neither a request with a list “to” nor a list of entries');
    const named = slices(text).map((member) => [member, /^\s*("(?:[^"\\]|\\.)*")\s*:/.exec(member)]);
    const isTo = ([, [, name]]) => JSON.parse(name) === 'to';
    const [member, [head]] = named.filter(isTo).at(-1);
    list = member.slice(head.length);
    rest = named.filter((each) => !isTo(each)).map(([each]) => each);
  }
  const entries = slices(list);
  if (!entries.length) throw new Unread('has no people in it');
  const flat = entries.map((entry) => flatten(JSON.parse(entry)));
  const header = [...new Set(flat.flatMap((fields) => [...fields.keys()]))];
  const cells = flat.map((fields) => header.map((name) => fields.get(name) ?? ''));
  const columns = header.map((title) => column(title) ?? title);
  return { word: 'entry', header, columns, properties: [], rows: entries.map((_, n) => n + 1), cells, rest, entries };
}

/** The members of the outermost array or object of a valid JSON text, as they are spelled. */
function slices(text) {
  const parts = [];
  let [depth, from] = [0, 0];
  for (let n = 0; n < text.length; n += 1) {
    const c = text[n];
    if (c === '"') { while (text[n += 1] !== '"') if (text[n] === '\\') n += 1; }
    else if (c === '[' || c === '{') { if (!depth) from = n + 1; depth += 1; }
    else if (c === ']' || c === '}') { depth -= 1; if (!depth) parts.push(text.slice(from, n)); }
    else if (c === ',' && depth === 1) { parts.push(text.slice(from, n)); from = n + 1; }
  }
  return parts.filter((part) => part.trim());
}

function flatten(value, prefix = '', fields = new Map()) {
  if (typeof value !== 'object' || value === null) return fields;
  for (const [name, inner] of Object.entries(value)) {
    if (!prefix && ['address', 'birth_date', 'properties'].includes(name)) flatten(inner, `${name}.`, fields);
    else if (inner !== null) fields.set(prefix + name, typeof inner === 'string' ? inner : JSON.stringify(inner));
  }
  return fields;
}

/** An entry of `to` from the cells of a row, as JSON. */
export function entry(columns, cells, kinds) {
  const fields = {};
  const properties = [];
  columns.forEach((fills, n) => {
    const [head, part] = fills.split(/\.(.*)/s);
    const cell = cells[n];
    if (fills === 'phone') fields.phone = cell;
    else if (!cell.trim() || fills.startsWith(FIX)) return;
    else if (head === 'properties') properties.push(`${JSON.stringify(part)}:${property(kinds[part], cell)}`);
    else if (head === 'birth_date') (fields[head] ??= {})[part] = Number(cell);
    else if (part) (fields[head] ??= {})[part] = cell;
    else fields[fills] = cell;
  });
  const text = JSON.stringify(fields);
  if (!properties.length) return text;
  return `${text.slice(0, -1)}${text === '{}' ? '' : ','}"properties":{${properties.join()}}}`;
}

/** A cell as the JSON of its kind. What does not fit stays text, and the report tells. */
function property(kind, cell) {
  const trimmed = cell.trim();
  if (kind === 'number' && /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)) return trimmed;
  if (kind === 'boolean' && /^(true|false)$/i.test(trimmed)) return trimmed.toLowerCase();
  if (kind === 'json') { try { JSON.parse(trimmed); return trimmed; } catch { /* it stays text */ } }
  return JSON.stringify(cell);
}

/** What the service knows the same list by when it comes twice: 128 bits of it. No secret, so no slow hash. */
export function fingerprint(bytes) {
  let text = '';
  for (const seed of [0, 0x9e3779b9]) {
    let [a, b] = [0xdeadbeef ^ seed, 0x41c6ce57 ^ seed];
    for (const byte of bytes) { a = Math.imul(a ^ byte, 0x9e3779b1); b = Math.imul(b ^ byte, 0x5f356495); }
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
    b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
    text += [a, b].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
  }
  return `${text}-${bytes.length}`;
}

/** A file that is not what it should be. */
export class Unread extends Error {}

export function number(n) { return n.toLocaleString('en'); }
export function plural(word) { return word.endsWith('y') ? `${word.slice(0, -1)}ies` : `${word}s`; }
export function count(n, one, many = plural(one)) { return `${number(n)} ${n === 1 ? one : many}`; }
