// The step in which the sequence and the other options are chosen.

import { field, fill, h, notice, select, sentence, showFieldError } from './dom.js';
import { changed, draft, fieldOf } from './draft.js';
import { organization } from './organization.js';
import { CHANNEL_KINDS } from './texts.js';

/** The regions that have phone numbers. */
const REGIONS = 'AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW';
const DATE_FORMATS = ['DD.MM.YYYY', 'DD/MM/YYYY', 'MM/DD/YYYY', 'DD-MM-YYYY', 'MM-DD-YYYY', 'YYYY.MM.DD'];

export async function options(content) {
  const own = await organization();
  const { options: chosen } = draft;
  const active = (sequence) => sequence.status === 'active' && sequence.steps.length > 0;
  if (!own.sequences.some((sequence) => sequence.id === draft.sequenceId && active(sequence))) draft.sequenceId = own.sequences.find(active)?.id ?? '';

  const on = (name) => ({ change: (event) => { chosen[name] = event.target.value; changed(); } });
  const sequence = select(own.sequences.map((each) => ({
    value: each.id, disabled: !active(each), text: active(each) ? each.title : `${each.title} (${each.status === 'active' ? 'no steps' : each.status})`,
  })), draft.sequenceId, { id: 'sequence', on: { change: () => { draft.sequenceId = sequence.value; chosen.step_id = ''; chosen.from = ''; changed(); fillSteps(); } } });
  const step = h('select', { id: 'step_id', on: { change: () => { chosen.step_id = step.value; chosen.from = ''; changed(); fillSenders(); } } });
  const from = h('select', { id: 'from', on: on('from') });
  const region = select([{ value: '', text: 'The country of the sender' }, ...regions()], chosen.default_region ?? '', { id: 'default_region', on: on('default_region') });
  const schedule = h('input', { id: 'schedule_at', type: 'datetime-local', value: draft.schedule, hidden: !draft.schedule, 'aria-label': 'Date and time', on: { change: () => { draft.schedule = schedule.value; changed(); } } });
  const used = (draft.inspection?.columns ?? []).map(fieldOf);
  const parts = [
    field('Sequence', sequence), field('Step', step), field('Sender', from, { hint: 'The channel that contacts these people.' }),
    when(), field('Country of numbers without +', region, { hint: 'Numbers such as 030 901820 are read as numbers of this country.' }),
  ];
  if (used.some((name) => name.startsWith('birth_date') || name.startsWith('properties.'))) {
    const format = select([{ value: '', text: 'Year, month, day (YYYY-MM-DD)' }, ...DATE_FORMATS.map((value) => ({ value, text: value }))], chosen.date_format ?? '', { id: 'date_format', on: on('date_format') });
    parts.push(field('Dates are written as', format, { hint: 'Other dates are left out, with a note.' }));
  }
  if (used.some((name) => name.startsWith('properties.'))) parts.push(...custom());

  fill(content, h('h1', {}, 'Where do they go?'), !draft.sequenceId && notice('bad', own.sequences.length ? 'No sequence is active.' : 'This organization has no sequences yet.'),
    h('form', { class: 'panel', novalidate: true, on: { submit: (event) => { event.preventDefault(); next(); } } }, h('div', { class: 'pair' }, parts),
      h('div', { class: 'actions' }, h('button', { class: 'primary', disabled: !draft.sequenceId }, 'Preview'), h('a', { class: 'button', href: '#/new/columns' }, 'Back'))));
  fillSteps();
  for (const error of draft.errors.filter((each) => each.step === 'options' && each.field)) {
    const control = document.getElementById(error.field) ?? document.getElementById('sequence');
    showFieldError(control, sentence(error.text));
    control.focus();
  }

  function fillSteps() {
    const steps = own.sequences.find(({ id }) => id === draft.sequenceId)?.steps ?? [];
    const name = ({ position, channel_kind: kind }) => `Step ${position}, by ${CHANNEL_KINDS[kind] ?? kind}`;
    const list = steps.map((each, n) => ({ value: n ? each.id : '', text: n ? name(each) : `${name(each)} (the first)` }));
    fill(step, [...select(list).children]);
    step.value = chosen.step_id ?? '';
    fillSenders();
  }

  function fillSenders() {
    const steps = own.sequences.find(({ id }) => id === draft.sequenceId)?.steps ?? [];
    const kind = (steps.find(({ id }) => id === chosen.step_id) ?? steps[0])?.channel_kind;
    const channels = own.channels.filter((channel) => channel.kind === kind && channel.enabled);
    const list = channels.map(({ address, name }) => ({ value: address, text: name ? `${name}, ${address}` : address }));
    fill(from, [...select([{ value: '', text: 'The sender of the step' }, ...list]).children]);
    from.value = chosen.from ?? '';
  }

  function when() {
    const radio = (text, later) => {
      const input = h('input', { type: 'radio', name: 'when', checked: later === Boolean(draft.schedule), on: { change: () => {
        schedule.hidden = !later;
        zoneHint.hidden = !later;
        if (later) schedule.focus(); else { draft.schedule = ''; schedule.value = ''; changed(); showFieldError(schedule, ''); }
      } } });
      return h('label', { class: 'choice' }, input, text);
    };
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const zoneHint = h('p', { class: 'hint', hidden: !draft.schedule }, `In your time zone, ${zone.replaceAll('_', ' ')}.`);
    return h('fieldset', { class: 'field' }, h('legend', {}, 'When'), h('div', { class: 'choices' }, radio('At once', false), radio('Later', true)), schedule,
      zoneHint, h('p', { class: 'error', id: 'schedule_at-error', role: 'alert', hidden: true }));
  }

  function custom() {
    const object = own.objects.find(({ id }) => id === draft.object);
    if (own.objects.length && !object) draft.object = '';
    const menu = select([{ value: '', text: 'Choose…' }, ...own.objects.map(({ id, key }) => ({ value: id, text: key }))], draft.object, { id: 'custom_data', on: { change: () => { draft.object = menu.value; changed(); } } });
    const resource = select([{ value: 'contact', text: 'the contact' }, { value: 'step_contact', text: 'the contact in this step' }], draft.resource, { id: 'resource', on: { change: () => { draft.resource = resource.value; changed(); } } });
    return [field('Custom data is for the object', menu), field('Stored for', resource)];
  }

  function next() {
    draft.errors = [];
    if (document.querySelector('input[name=when]:checked')?.parentElement.textContent === 'Later' && !draft.schedule) {
      showFieldError(schedule, 'Enter the date and the time.');
      return schedule.focus();
    }
    location.hash = '#/new/preview';
  }
}

function regions() {
  const names = new Intl.DisplayNames(['en'], { type: 'region' });
  const list = REGIONS.split(' ').map((value) => ({ value, text: names.of(value) }));
  return list.sort((a, b) => a.text.localeCompare(b.text, 'en'));
}
