// The page of the service: signs in, and shows the view that the address names.

import { announce, h, notice, sentence } from './dom.js';
import { ServiceError, call, session } from './api.js';
import { forgetOrganization } from './organization.js';
import { signIn } from './sign_in.js';
import { newList } from './new_list.js';
import { history } from './history.js';
import { acceptedList } from './accepted_list.js';
import { enrollment } from './enrollment.js';

const UUID = '([0-9a-f-]{36})';
/** The views, by what is after `#/`. */
const VIEWS = [
  [/^new(?:\/(columns|options|preview))?$/, newList, 'new'],
  [new RegExp(`^new/(preview)/${UUID}$`), newList, 'new'],
  [/^history(?:\/(enrollments))?$/, history, 'history'],
  [new RegExp(`^lists/${UUID}$`), acceptedList, 'history'],
  [new RegExp(`^enrollments/${UUID}$`), enrollment, 'history'],
];

let leaving = new AbortController();

session.onRefused = () => {
  session.key = '';
  forgetOrganization();
  show('This key is unknown, has expired or was revoked.');
};

/** Shows the view of the address. */
async function show(problem) {
  leaving.abort(new DOMException('another view is shown', 'AbortError'));
  leaving = new AbortController();
  const { signal } = leaving;
  const main = document.getElementById('main');
  announce('');
  const path = location.hash.replace(/^#\/?/, '');
  const [pattern, view, place] = VIEWS.find(([each]) => each.test(path)) ?? [];
  document.getElementById('sign-out').hidden = !session.key;
  document.getElementById('pages').hidden = !session.key;
  for (const link of document.querySelectorAll('#pages a')) {
    if (session.key && link.dataset.place === place) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  if (!session.key) {
    document.title = 'Sign in · enroll';
    main.replaceChildren(signIn({ problem, onKey: use }));
    document.getElementById('key').focus();
    return;
  }
  if (!view) { location.replace('#/new'); return; }
  try {
    await view(main, { parameters: pattern.exec(path).slice(1), signal });
    if (signal.aborted) return;
    const title = main.querySelector('h1');
    document.title = `${title?.textContent ?? 'Enroll'} · enroll`;
    if (title && !main.contains(document.activeElement)) { title.tabIndex = -1; title.focus({ preventScroll: true }); }
  } catch (error) {
    if (signal.aborted || (error instanceof ServiceError && error.status === 401)) return;
    if (!(error instanceof ServiceError)) console.error(error);
    main.replaceChildren(h('h1', {}, 'This does not work now'), notice('bad', h('p', {}, sentence(error.message)),
      h('p', {}, h('button', { type: 'button', on: { click: () => show() } }, 'Try again'))));
  }
}

/** Checks a key, and keeps it for this tab. */
async function use(key) {
  await call('/v1/sequences?limit=1', { key });
  session.key = key;
  forgetOrganization();
  await show();
}

/** `#key=…` signs in. The key is removed from the address, so that it is not in the history. */
function keyOfAddress() {
  const key = /^#key=([\x21-\x7e]+)$/.exec(location.hash)?.[1];
  if (!key) return;
  session.key = decodeURIComponent(key);
  window.history.replaceState(null, '', '#/new');
}

keyOfAddress();
window.addEventListener('hashchange', () => {
  keyOfAddress();
  show();
});
document.getElementById('sign-out').addEventListener('click', () => {
  sessionStorage.clear();
  forgetOrganization();
  location.hash = '#/new';
  show();
});
// A file that is dropped next to the form would replace the page.
for (const event of ['dragover', 'drop']) window.addEventListener(event, (dropped) => dropped.preventDefault());
show();
