// Words in the page's language. The English text is the key, so an English page loads nothing more
// than this; any other has loaded the words that scripts use right before.

const { lang } = document.documentElement;
/** The page's language as this person's browser has it: en-GB rather than en. For Intl. */
export const locale = navigator.languages.find((it) => it.split("-")[0] === lang) ?? lang;

const words = globalThis.messages ?? {};
/** As languages' files list them; each has those that it tells apart. */
const FORMS = ["zero", "one", "two", "few", "many", "other"];
const rules = new Intl.PluralRules(lang);
const known = rules.resolvedOptions().pluralCategories;
const forms = FORMS.filter((form) => known.includes(form));

const put = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);

/** What the API says, in the page's language if that has words for it. */
export function said(detail) {
  for (const [pattern, text] of Object.entries(globalThis.details ?? {})) {
    const found = detail?.match(pattern);
    if (found) return put(text, found.groups ?? {});
  }
  return detail;
}

export const number = (value) => value.toLocaleString(locale);

/** A text in the page's language, with values in its {places}. */
export const t = (text, values = {}) => put(words[text] ?? text, values);

/** A text with a number in it, which is its {n}. */
export function plural(one, other, n, values) {
  const form = rules.select(n);
  const text = words[one]?.[forms.indexOf(form)] ?? (form === "one" ? one : other);
  return put(text, { n: number(n), ...values });
}
