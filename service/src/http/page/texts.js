// What the page says to people. For each code of docs/rules.md: its meaning, and what a person can do about it.

/** Why a recipient is not enrolled. `fixable`: a correction of the row removes it. */
export const REASONS = {
  missing_phone: {
    text: 'The step needs a phone number, and there is none.',
    remedy: 'Add a phone number.', fixable: true,
  },
  invalid_phone: {
    text: 'The phone number is not valid: {fault}.',
    remedy: 'Correct the phone number. Use + and the country code.', fixable: true,
  },
  missing_email: {
    text: 'The step needs an email address, and there is none.',
    remedy: 'Add an email address.', fixable: true,
  },
  invalid_email: {
    text: 'The email address is not valid: {fault}.',
    remedy: 'Correct the email address.', fixable: true,
  },
  identity_conflict: {
    text: 'The {key} belongs to another contact than the other keys.',
    remedy: 'Remove the {key}, or merge the two contacts.', fixable: true,
  },
  address_taken: {
    text: 'The {key} belongs to another contact, and this contact has none.',
    remedy: 'Give this contact its own {key}, or merge the two contacts.', fixable: true,
  },
  blocked: {
    text: 'The contact is blocked.',
    remedy: 'Remove the row, or unblock the contact.',
  },
  opted_out: {
    text: 'The contact opted out of the channel.',
    remedy: 'Remove the row. Only the contact can opt in again.',
  },
  active_in_other_step: {
    text: 'Already active in step {step_id} of the sequence.',
    remedy: 'Wait until the contact has finished that step, or choose that step.',
  },
  pending_in_other_step: {
    text: 'Already scheduled for step {step_id} of the sequence.',
    remedy: 'Wait until the contact has finished that step, or choose that step.',
  },
  re_add_excluded: {
    text: 'The contact was in the sequence before, and the sequence adds no contact again.',
    remedy: 'Remove the row, choose another sequence, or allow this one to add contacts again.',
  },
  max_runs_reached: {
    text: 'The contact has had all the runs that the sequence allows: {runs} of {max_runs}.',
    remedy: 'Remove the row, choose another sequence, or allow more runs.',
  },
  max_adds_reached: {
    text: 'The contact was added as often as the sequence allows within {seconds}: {adds} of {count}.',
    remedy: 'Send the row again {seconds} after the earlier adds.',
  },
};

/** What did not prevent the enrollment. */
export const NOTES = {
  default_channel_unknown: {
    text: 'The default channel is unknown, and is left out.',
    remedy: 'Correct or remove default_channel_id.',
  },
  phone_dropped: {
    text: 'The phone number is left out: {fault}.',
    remedy: 'Correct or remove the phone number.',
  },
  email_dropped: {
    text: 'The email address is left out: {fault}.',
    remedy: 'Correct or remove the email address.',
  },
  identity_conflict: {
    text: 'The {key} belongs to another contact, and is not moved.',
    remedy: 'Remove the {key}, or merge the two contacts.',
  },
  key_taken: {
    text: 'The {key} is left out: {recipient} has it for another contact.',
    remedy: 'Use the {key} for only one of the two.',
  },
  key_mismatch: {
    text: 'The {key} differs from the stored one, which is kept.',
    remedy: 'If the new one is correct, change the {key} of the contact.',
  },
  custom_data_invalid: {
    text: 'The custom data is left out: {faults}{more}. The object has {accepted}.',
    remedy: 'Correct these properties.',
  },
};

/** Why a row of a list is set aside. */
export const SET_ASIDE = {
  opted_out_in_list: {
    text: 'The list says that the person opted out.',
    remedy: 'The row is not enrolled. Only the person can opt in again.',
  },
  consent_unclear: {
    text: 'The column about consent says neither yes nor no.',
    remedy: 'Write yes or no in this cell.', fixable: true,
  },
  beyond_header: {
    text: 'A cell is filled, but its column has no title.',
    remedy: 'Check for a delimiter too many in this row, or give the column a title.', fixable: true,
  },
  invalid_uuid: { text: 'The cell is not an id.', remedy: 'Correct or clear the cell.', fixable: true },
  too_long: { text: 'The text has more than 255 characters.', remedy: 'Shorten the text.', fixable: true },
  invalid_character: { text: 'The text has a character that cannot be stored.', remedy: 'Type the text again.', fixable: true },
  not_text: { text: 'The value is a list or an object.', remedy: 'Write it as text.', fixable: true },
};

/** What was changed or left out when a row was read. */
export const READING_NOTES = {
  several_values: { text: 'The cell “{column}” has several values. The first one counts.', remedy: '' },
  birth_date_left_out: { text: 'The birth date is left out: “{value}” is not a date in the chosen format.', remedy: 'Write it as YYYY-MM-DD, or choose the format of dates in the options.' },
  birth_year_left_out: { text: 'The birth year {year} is a placeholder. Only the day and the month are kept.', remedy: '' },
  digits_lost: { text: 'The number in “{column}” has more digits than a spreadsheet keeps.', remedy: 'Format the column as text, and enter the number again.' },
};

/** For each code, the few words of a menu. */
export const SHORT = {
  missing_phone: 'No phone number', invalid_phone: 'Phone number not valid', missing_email: 'No email address',
  invalid_email: 'Email address not valid', identity_conflict: 'Belongs to another contact', address_taken: 'Address of another contact',
  blocked: 'Blocked', opted_out: 'Opted out', active_in_other_step: 'Active in another step',
  pending_in_other_step: 'Scheduled in another step', re_add_excluded: 'Was in the sequence before', max_runs_reached: 'Had all runs',
  max_adds_reached: 'Added too often', duplicate: 'Repeated in the list', opted_out_in_list: 'Opted out in the list',
  consent_unclear: 'Consent not clear', beyond_header: 'Cell without a title', invalid_uuid: 'Not an id', too_long: 'Text too long',
  invalid_character: 'Character not valid', not_text: 'Not text', default_channel_unknown: 'Default channel unknown',
  phone_dropped: 'Phone number left out', email_dropped: 'Email address left out', key_taken: 'Key of an earlier row',
  key_mismatch: 'Key differs', custom_data_invalid: 'Custom data left out', several_values: 'Several values',
  birth_date_left_out: 'Birth date left out', birth_year_left_out: 'Birth year left out', digits_lost: 'Digits lost',
};

const FAULTS = {
  not_a_number: 'it is not a phone number', unknown_country: 'its country is unknown', too_short: 'it is too short',
  too_long: 'it is too long', no_such_number: 'this number does not exist in its country',
  exponent: 'it is in exponent notation; format the column as text', masked: 'some digits are hidden',
  letters: 'it contains letters', several_numbers: 'it is more than one number',
  ambiguous: 'its country code is not clear; begin it with +',
  syntax: 'it is not an email address', local_part: 'the part before the @ is not valid', domain: 'its domain is not valid',
};
const KEYS = { external_id: 'external id', phone: 'phone number', email: 'email address' };
const PROBLEMS = {
  unknown_key: 'is not a property of the custom object', wrong_type: 'is of the wrong type',
  null_for_required: 'is required and cannot be cleared', missing_required: 'is required and missing',
};

/** What became of a person, or would become. The order is that of the tiles. */
export const DISPOSITIONS = {
  added: 'Added', re_added: 'Added again', reprocessed: 'Starts again', ignored: 'Ignored', duplicate: 'Duplicate',
  set_aside: 'Set aside', pending: 'Waiting', failed: 'Failed', erased: 'Erased',
};

/** What each disposition means. */
export const DISPOSITION_HINTS = {
  added: 'New in the sequence', re_added: 'Was in the sequence before, and runs through it again',
  reprocessed: 'Is in this step already, and starts it again, so that the person can get its message a second time', ignored: 'Cannot be enrolled for a reason',
  duplicate: 'The same person as an earlier row', set_aside: 'The row cannot be read as a person', pending: 'Not processed yet',
  failed: 'Was in a request that failed', erased: 'Was erased on request',
};

export const STATES = { accepted: 'In progress', completed: 'Completed', rejected: 'Rejected', failed: 'Failed', running: 'Running' };
export const CHANNEL_KINDS = { phone: 'phone (call or text message)', email: 'email', whatsapp: 'WhatsApp', fax: 'fax' };
export const FORMATS = {
  csv: 'a CSV file', text: 'a CSV file', xlsx: 'an Excel file', xls: 'an Excel 97–2003 file', ods: 'an OpenDocument file', json: 'a JSON file',
};

/** The fields of columns, in groups. */
export const FIELDS = [
  ['Contact', { phone: 'Phone', email: 'Email', external_id: 'External id' }],
  ['Name', { name: 'Full name', first_name: 'First name', middle_name: 'Middle name', last_name: 'Last name' }],
  ['Person', { language: 'Language', birth_date: 'Birth date', 'birth_date.day': 'Birth day', 'birth_date.month': 'Birth month',
    'birth_date.year': 'Birth year', default_channel_id: 'Id of the default channel' }],
  ['Address', { address_line_one: 'Address', address_line_two: 'Address, second line', city: 'City', state: 'State',
    post_code: 'Post code', country: 'Country' }],
  ['Consent', { opted_out: 'Opted out: leave out “yes”', opted_in: 'Opted in: leave out “no”' }],
];

export const KEY_FIELDS = ['phone', 'email', 'external_id'];

export function fieldName(name) {
  if (!name) return 'Not used';
  if (name.startsWith('properties.')) return `Custom data: ${name.slice('properties.'.length)}`;
  return FIELDS.map(([, fields]) => fields[name]).find(Boolean) ?? (name === 'ignore' ? 'Not used' : name);
}

/** Fills the parameters of a code into its text. `context` names rows and steps. */
export function describe(table, coded, context) {
  const each = typeof coded === 'string' ? { code: coded } : coded;
  const entry = table[each.code];
  const format = {
    fault: (fault) => FAULTS[fault] ?? fault,
    key: (key) => KEYS[key] ?? key,
    step_id: (id) => context.step?.(id) ?? id,
    recipient: (index) => context.recipient?.(index) ?? `recipient ${index + 1}`,
    seconds: (s) => (s % 86400 ? `${Math.ceil(s / 3600)} hours` : s === 86400 ? '1 day' : `${s / 86400} days`),
    faults: (faults) => faults.map(describeFault).join('; '),
    more: (keys) => (keys ? `; and ${keys} more` : ''),
    accepted: () => context.acceptedKeys?.map((key) => `“${key}”`).join(', ') || 'other properties',
  };
  const fill = (text) => text.replace(/\{(\w+)\}/g, (_, name) => String(format[name]?.(each[name]) ?? each[name] ?? '…'));
  // The field that a person would correct.
  const field = each.key ?? (/phone/.test(each.code) ? 'phone' : /email/.test(each.code) ? 'email' : undefined);
  if (!entry) return { code: each.code, text: each.description ?? each.code, remedy: '', fixable: false, field };
  return { code: each.code, text: fill(entry.text), remedy: fill(entry.remedy), fixable: Boolean(entry.fixable), field };
}

function describeFault({ key, problem, given, wanted }) {
  const details = [given && `given ${given}`, wanted && `wanted ${wanted}`].filter(Boolean).join(', ');
  return `“${key}” ${PROBLEMS[problem] ?? problem}${details && ` (${details})`}`;
}
