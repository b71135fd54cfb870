// What the organization of the key has: sequences, channels and custom objects.

import { all } from './api.js';

let loading = null;

/** Reads the organization once for each key. */
export function organization() {
  loading ??= read().catch((error) => { loading = null; throw error; });
  return loading;
}

export function forgetOrganization() { loading = null; }

async function read() {
  const [sequences, channels, objects] = await Promise.all(['sequences', 'channels', 'custom_objects'].map((name) => all(`/v1/${name}`)));
  for (const sequence of sequences) sequence.steps.sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
  return { sequences, channels, objects };
}

export function sequenceTitle({ sequences }, id) {
  return sequences.find((sequence) => sequence.id === id)?.title ?? 'a sequence that no longer exists';
}

/** Returns the position of a step in its sequence, or its id if no sequence has it. */
export function stepPosition({ sequences }, id) {
  return sequences.flatMap(({ steps }) => steps).find((step) => step.id === id)?.position ?? id;
}
