// The list that is being prepared. Its choices survive a reload. The file does not: a browser gives it only to the page
// that it was chosen in.

const PLACE = 'draft';
/** The number of steps that can be undone. */
const MOST_UNDONE = 50;

export const draft = {
  /** The file, after it was chosen. */
  file: null,
  /** What the service found in the file. */
  inspection: null,
  /** The preview, if it was made with the present choices. */
  preview: null,
  /** Errors of the last answer, by step: `{ step, field, text }`. */
  errors: [],
  ...empty(),
};

function empty() {
  return { name: '', size: 0, sequenceId: '', options: {}, mapping: {}, edits: [], undo: [], object: '', resource: 'contact', schedule: '' };
}

const KEPT = Object.keys(empty());

/** Keeps the choices for a reload. */
export function keep() {
  sessionStorage.setItem(PLACE, JSON.stringify(kept()));
}

/** Reads the choices that were made before a reload. */
export function restore() {
  try { Object.assign(draft, JSON.parse(sessionStorage.getItem(PLACE) ?? '{}')); } catch { /* without choices */ }
}

/** Takes a file. The choices stay if it is the file that they were made for. */
export function take(file) {
  const isSame = draft.name === file.name && draft.size === file.size;
  if (!isSame) Object.assign(draft, { options: {}, mapping: {}, edits: [], undo: [], object: '' });
  Object.assign(draft, { file, name: file.name, size: file.size, inspection: null, preview: null, errors: [] });
  keep();
  return isSame;
}

/** Forgets a file that was refused. The choices for the file before it come back, if it has to be chosen again. */
export function refuse(before) {
  Object.assign(draft, { file: null, inspection: null, preview: null, errors: [], ...empty(), ...before });
  keep();
}

/** Returns the choices that a reload keeps. */
export function kept() { return Object.fromEntries(KEPT.map((name) => [name, draft[name]])); }

/** Replaces the changes of rows, as one step that can be undone. */
export function edit(edits) {
  draft.undo = [...draft.undo, draft.edits].slice(-MOST_UNDONE);
  draft.edits = edits;
  keep();
}

/** Undoes the last step of `edit`. Returns to no changes, if no step is known. */
export function undo() {
  draft.edits = draft.undo.at(-1) ?? [];
  draft.undo = draft.undo.slice(0, -1);
  keep();
}

/** Forgets the list, after it was enrolled. The sequence stays chosen. */
export function finish() {
  const { sequenceId } = draft;
  Object.assign(draft, { file: null, inspection: null, preview: null, errors: [], ...empty(), sequenceId });
  keep();
}

/** Notes that a choice changed. */
export function changed() {
  draft.preview = null;
  keep();
}

/** Returns the part `options` of an upload that only looks into the file. */
export function readingOptions() {
  const { sheet, encoding, delimiter } = draft.options;
  return withoutEmpty({ sheet, encoding, delimiter });
}

/** Returns the part `options` of a preview or an enrollment. */
export function listOptions() {
  const mapping = Object.entries(draft.mapping).map(([position, field]) => ({ column: columnOf(Number(position)), field }));
  const used = (draft.inspection?.columns ?? []).some((column) => fieldOf(column).startsWith('properties.'));
  const { from, step_id, default_region, date_format } = draft.options;
  return withoutEmpty({
    ...readingOptions(), mapping: mapping.length ? mapping : undefined, edits: draft.edits.length ? draft.edits : undefined,
    date_format, default_region,
    request: withoutEmpty({
      from, step_id, schedule_at: draft.schedule ? new Date(draft.schedule).toISOString() : undefined,
      custom_data: used && draft.object ? { custom_object_id: draft.object, resource: draft.resource } : undefined,
    }),
  });
}

/** Returns the title of a column, as the command line names it, or its position if other columns have the same title. */
function columnOf(position) {
  const titles = (draft.inspection?.columns ?? []).map(({ title }) => title?.trim() ?? '');
  const title = titles[position - 1];
  return title && titles.filter((each) => each === title).length === 1 ? title : position;
}

/** Returns the field of a column: the chosen one, else the suggested one. */
export function fieldOf(column) {
  return draft.mapping[column.position] ?? column.suggested ?? '';
}

function withoutEmpty(object) {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined && value !== '' && value !== null);
  const full = entries.filter(([, value]) => typeof value !== 'object' || Array.isArray(value) || Object.keys(value).length);
  return Object.fromEntries(full);
}
