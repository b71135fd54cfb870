// Signs in with an API key.

import { field, h, sentence, showFieldError } from './dom.js';
import { ServiceError } from './api.js';

export function signIn({ problem, onKey }) {
  const key = h('input', { id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true });
  const button = h('button', { class: 'primary' }, 'Sign in');
  const form = h('form', { class: 'panel narrow', novalidate: true, on: { submit } }, h('h1', {}, 'Sign in'),
    field('API key', key, { hint: 'The key is kept in this tab only, until you close it. The operator of the service creates keys with “enroll keys create”.' }),
    h('div', { class: 'actions' }, button));
  if (problem) queueMicrotask(() => showFieldError(key, problem));

  async function submit(event) {
    event.preventDefault();
    const text = key.value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      showFieldError(key, text ? 'A key has no spaces and no special characters.' : 'Enter the API key.');
      return key.focus();
    }
    button.disabled = true;
    try {
      await onKey(text);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      if (key.isConnected) {
        showFieldError(key, error.status === 401 ? 'This key is unknown, has expired or was revoked.' : sentence(error.message));
        key.focus();
      }
    } finally {
      button.disabled = false;
    }
  }
  return form;
}
