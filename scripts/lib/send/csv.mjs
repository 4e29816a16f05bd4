/** A table in a text: columns by name, records with quotes (RFC 4180), separated by comma, semicolon or tab. */

/** What stands in quotes may hold line ends; a quote that never ends must not take the whole file. */
const MAX_RECORD_CHARACTERS = 64 << 10;

/** @param {string} line */
const separatorOf = (line) =>
  [",", ";", "\t"].map((mark) => ({ mark, times: line.split(mark).length })).sort((a, b) => b.times - a.times)[0].mark;

/** @param {string} record @param {string} separator @returns {string[]} */
function fieldsOf(record, separator) {
  if (!record.includes('"')) return record.split(separator);
  const fields = [];
  let [field, isQuoted] = ["", false];
  for (let at = 0; at < record.length; at++) {
    const letter = record[at];
    if (isQuoted) {
      if (letter !== '"') field += letter;
      else if (record[at + 1] === '"') field += record[++at];
      else isQuoted = false;
    } else if (letter === '"' && field === "") isQuoted = true;
    else if (letter === separator) {
      fields.push(field);
      field = "";
    } else field += letter;
  }
  fields.push(field);
  return fields;
}

/** Lines to records, each an object by the names of the first one. */
export class Table {
  /** @type {{separator: string, columns: string[]} | null} */
  head = null;
  #open = "";

  /**
   * @param {string} line
   * @returns {"more" | "head" | string | Record<string, string>} `more`: the record goes on in the next line; other text: what is wrong
   */
  read(line) {
    const record = this.#open ? `${this.#open}\n${line}` : line;
    if ((record.split('"').length & 1) === 0) {
      if (record.length > MAX_RECORD_CHARACTERS) {
        this.#open = "";
        return "a quote that does not end";
      }
      this.#open = record;
      return "more";
    }
    this.#open = "";
    if (!this.head) {
      const separator = separatorOf(record);
      this.head = { separator, columns: fieldsOf(record, separator).map((name) => name.trim()) };
      return "head";
    }
    const { separator, columns } = this.head;
    const fields = fieldsOf(record, separator);
    if (fields.length !== columns.length) return `${fields.length} fields where the first line has ${columns.length}`;
    return Object.fromEntries(columns.map((name, index) => [name, fields[index]]));
  }
}
