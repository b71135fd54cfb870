// Requests to the service.

import { announce, count, sleep } from './dom.js';

const KEY_HEADER = document.querySelector('meta[name=key-header]').content;
export const PAGE_LIMIT = 500;
const ATTEMPTS = 8;

/** The key of this tab. It is kept until the tab is closed. */
export const session = {
  get key() { return sessionStorage.getItem('key') ?? ''; },
  set key(key) { if (key) sessionStorage.setItem('key', key); else sessionStorage.removeItem('key'); },
  /** Called if the service no longer knows the key. */
  onRefused: () => {},
};

/** An error response. */
export class ServiceError extends Error {
  constructor(status, errors) {
    const listed = errors?.length ? errors : [{ description: status ? `the service answered with status ${status}`
      : 'the service cannot be reached; try again' }];
    super(listed.map((error) => error.description).join('; '));
    this.status = status;
    this.errors = listed;
    this.code = listed[0].code ?? '';
  }
}

/** Sends a request, and returns the JSON of the answer. If the service is busy, waits and sends it again. */
export async function call(path, { method = 'GET', body, headers = {}, signal, key = session.key } = {}) {
  return (await response(path, { method, body, headers, signal, key })).json();
}

/** Reads all pages of a list with few entries. */
export async function all(path, options = {}) {
  const entries = [];
  for (let cursor = ''; ;) {
    const at = `${path}?limit=${PAGE_LIMIT}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = await call(at, options);
    entries.push(...page.data);
    cursor = page.metadata?.next_cursor;
    if (!cursor) return entries;
  }
}

/** Saves an answer as a file. */
export async function download(path, name) {
  const blob = await (await response(path, { method: 'GET', headers: {}, key: session.key })).blob();
  save(blob, name);
}

export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function response(path, { method, body, headers, signal, key }) {
  const own = { [KEY_HEADER]: key, ...(body && { 'Content-Type': 'application/json' }) };
  const options = { method, body, signal, cache: 'no-store', redirect: 'error', headers: { ...headers, ...own } };
  return repeat(signal, async () => {
    const answer = await fetch(path, options).catch((error) => { throw signal?.aborted ? error : new ServiceError(0); });
    if (answer.ok) return { done: answer };
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), body: await answer.json().catch(() => null) };
  });
}

/**
 * Sends a file with its options. `onProgress` gets the part of the file that was sent, from 0 to 1.
 *
 * `fetch` has no progress of an upload, so this uses `XMLHttpRequest`.
 */
export function upload(path, file, options, { headers = {}, signal, onProgress = () => {} } = {}) {
  return repeat(signal, () => new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    request.open('POST', path);
    for (const [name, value] of Object.entries({ ...headers, [KEY_HEADER]: session.key })) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onerror = () => fail(new ServiceError(0));
    request.onabort = () => fail(signal?.reason ?? new DOMException('aborted', 'AbortError'));
    request.onload = () => {
      let body = null;
      try { body = JSON.parse(request.responseText); } catch { /* the status says it */ }
      const { status } = request;
      if (status >= 200 && status < 300 && body) return done({ done: { status, data: body.data } });
      return done({ status, retryAfter: request.getResponseHeader('retry-after'), body });
    };
    signal?.addEventListener('abort', () => request.abort(), { once: true });
    const form = new FormData();
    form.append('options', new Blob([JSON.stringify(options)], { type: 'application/json' }));
    form.append('file', file, file.name);
    request.send(form);
  }));
}

/** Sends until the service is not busy. Each request of the page can be sent twice without harm. */
async function repeat(signal, send) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send();
    if (answer.done) return answer.done;
    if (answer.status === 401 && session.key) session.onRefused();
    const error = new ServiceError(answer.status, answer.body?.errors);
    if (![429, 503].includes(answer.status) || attempt >= ATTEMPTS) throw error;
    const seconds = Math.min(Number(answer.retryAfter) || attempt, 60);
    announce(`The service is busy. Trying again in ${count(seconds, 'second')}…`);
    await sleep(seconds * 1000, signal);
  }
}
