// Reads lists of people from CSV and JSON, and writes the entries of a request. This file does not use the page.

/** The prefix of the columns that a download adds. */
export const FIX = 'fix.';
/** The start of a cell that a spreadsheet runs as a formula, or that is escaped against that. */
const FORMULA = /^'*[=+\-@\t\r]/;
const FIELDS = ['phone', 'email', 'name', 'first_name', 'last_name', 'external_id', 'language', 'default_channel_id',
  'address.address_line_one', 'address.address_line_two', 'address.city', 'address.state', 'address.post_code',
  'address.country', 'address.postal_code', 'birth_date.day', 'birth_date.month', 'birth_date.year'];

/** Reads a CSV with field names in its header. Rows are numbered as in a spreadsheet. */
export function readCsv(text) {
  const { records, unclosed } = scanCsv(text.replace(/^\ufeff/, ''));
  if (unclosed) throw new FileError(`has a quote in row ${unclosed} that is never closed`);
  for (const record of records) record.cells = record.cells.map(unescapeCell);
  const header = (records.shift()?.cells ?? []).map((title) => title.trim());
  if (header.every((title) => !title)) {
    throw new FileError('is empty. The first row must contain the column names, such as “phone”');
  }
  const columns = header.map(column);
  const unknown = header.filter((_, n) => !columns[n]);
  if (unknown.length) {
    const separated = header.length === 1 && /[;\t]/.test(header[0]);
    const names = unknown.map((title) => `“${title}”`).join(', ');
    throw new FileError(separated ? 'is not separated by commas. Save it as “CSV UTF-8 (comma delimited)”'
      : `has unknown columns: ${names}. “File format” below lists the known columns`);
  }
  columns.forEach((target, n) => {
    const first = columns.indexOf(target);
    if (first === n) return;
    throw new FileError(header[first] === header[n] ? `has the column “${header[n]}” twice`
      : `has the columns “${header[first]}” and “${header[n]}” for the same field`);
  });
  const people = records.filter(({ cells }) => cells.some((cell) => cell.trim()));
  for (const { row, cells } of people) {
    if (cells.length !== header.length) {
      throw new FileError(`has ${count(cells.length, 'cell')} in row ${row}, but the header has ${header.length}`);
    }
    columns.forEach((target, n) => {
      if (target.startsWith('birth_date.') && cells[n].trim() && !/^\s*[+-]?\d+\s*$/.test(cells[n])) {
        throw new FileError(`has “${cells[n].trim()}” in row ${row}, column “${header[n]}”, which is not a whole number`);
      }
    });
  }
  if (!people.length) throw new FileError('has a header but no people below it');
  const properties = columns.filter((target) => target.startsWith('properties.')).map((target) => target.slice(11));
  const [rows, cells] = [people.map(({ row }) => row), people.map((record) => record.cells)];
  return { word: 'row', header, columns, properties, rows, cells, rest: [] };
}

/** Returns a CSV with the same cells, in which a spreadsheet runs no cell. `readCsv` reads the same cells from it. */
export function writeCsv(lines) {
  const quote = (cell) => (/[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const escaped = (cell) => quote(FORMULA.test(cell) ? `'${cell}` : cell);
  // Spreadsheets recognize UTF-8 by a byte order mark.
  return `\ufeff${lines.map((line) => line.map(escaped).join()).join('\r\n')}\r\n`;
}

/** Removes the `'` that keeps a spreadsheet from running a cell. */
function unescapeCell(cell) {
  return cell.startsWith("'") && FORMULA.test(cell) ? cell.slice(1) : cell;
}

/** Returns the field of a column, or undefined if it is unknown. */
function column(title) {
  if (title.startsWith(FIX)) return title;
  if (title.startsWith('properties.') && title.length > 11) return title;
  const field = FIELDS.find((name) => name === title || name === `address.${title}`);
  return field === 'address.postal_code' ? 'address.post_code' : field;
}

/** Splits a CSV (RFC 4180) into records, each with its row. An empty line is not a record. */
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

/** Reads a request, or the list of its entries. It splits the text, so that numbers keep their spelling. */
export function readJson(text) {
  let value;
  try { value = JSON.parse(text); } catch (error) { throw new FileError(`is not JSON: ${error.message}`); }
  let [list, rest] = [text, []];
  if (!Array.isArray(value)) {
    if (!Array.isArray(value?.to)) throw new FileError('is neither a request with a list “to” nor a list of entries');
    const named = slices(text).map((member) => [member, /^\s*("(?:[^"\\]|\\.)*")\s*:/.exec(member)]);
    const isTo = ([, [, name]]) => JSON.parse(name) === 'to';
    const [member, [head]] = named.filter(isTo).at(-1);
    list = member.slice(head.length);
    rest = named.filter((each) => !isTo(each)).map(([each]) => each);
  }
  const entries = slices(list);
  if (!entries.length) throw new FileError('contains no people');
  const flat = entries.map((entry) => flatten(JSON.parse(entry)));
  const header = [...new Set(flat.flatMap((fields) => [...fields.keys()]))];
  const cells = flat.map((fields) => header.map((name) => fields.get(name) ?? ''));
  const columns = header.map((title) => column(title) ?? title);
  return { word: 'entry', header, columns, properties: [], rows: entries.map((_, n) => n + 1), cells, rest, entries };
}

/** Returns the members of the outermost array or object of a valid JSON text, without changes. */
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

/** Returns an entry of `to` for the cells of a row, as JSON. */
export function entry(columns, cells, kinds) {
  const fields = {};
  const properties = [];
  columns.forEach((target, n) => {
    const [head, part] = target.split(/\.(.*)/s);
    const cell = cells[n];
    if (target === 'phone') fields.phone = cell;
    else if (!cell.trim() || target.startsWith(FIX)) return;
    else if (head === 'properties') properties.push(`${JSON.stringify(part)}:${property(kinds[part], cell)}`);
    else if (head === 'birth_date') (fields[head] ??= {})[part] = Number(cell);
    else if (part) (fields[head] ??= {})[part] = cell;
    else fields[target] = cell;
  });
  const text = JSON.stringify(fields);
  if (!properties.length) return text;
  return `${text.slice(0, -1)}${text === '{}' ? '' : ','}"properties":{${properties.join()}}}`;
}

/** Returns a cell as JSON of its kind. A cell that does not fit stays text, and the report contains a note. */
function property(kind, cell) {
  const trimmed = cell.trim();
  if (kind === 'number' && /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i.test(trimmed)) return trimmed;
  if (kind === 'boolean' && /^(true|false)$/i.test(trimmed)) return trimmed.toLowerCase();
  if (kind === 'json') { try { JSON.parse(trimmed); return trimmed; } catch { /* keep it as text */ } }
  return JSON.stringify(cell);
}

/** Returns a 128-bit hash, by which the service recognizes a repeated list. It needs no cryptographic hash. */
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

/** A file with a wrong format. */
export class FileError extends Error {}

export function number(n) { return n.toLocaleString('en'); }
export function plural(word) { return word.endsWith('y') ? `${word.slice(0, -1)}ies` : `${word}s`; }
export function count(n, one, many = plural(one)) { return `${number(n)} ${n === 1 ? one : many}`; }
