/**
 * Starting a command by its name. Written for Node of any age, and loads nothing before it knows
 * that this one is new enough: everything else may use what it brings.
 */
var MIN_NODE = [20, 3];

/**
 * @param {Record<string, () => Promise<unknown>>} commands loading a command's module runs it
 * @param {string} usual what is meant where only options are given
 * @param {string} usage
 * @param {{bare?: () => unknown, version?: () => unknown}} [own] what is done where nothing at all is given, and for --version
 */
export function runCommand(commands, usual, usage, own = {}) {
  var node = process.versions.node.split(".").map(Number);
  if (node[0] < MIN_NODE[0] || (node[0] === MIN_NODE[0] && node[1] < MIN_NODE[1])) {
    fail(
      "Node " +
        process.versions.node +
        " is too old: " +
        MIN_NODE.join(".") +
        " or newer is needed.\n  Get it from https://nodejs.org or your package manager.",
    );
  }
  var word = process.argv[2];
  if (word === "--help" || word === "-h") {
    process.stderr.write(usage + "\n");
    return;
  }
  if (word === undefined && own.bare) return void own.bare();
  if (word === "--version" && own.version) return void own.version();
  var hasName = word !== undefined && word[0] !== "-";
  var name = hasName ? word : usual;
  if (!Object.prototype.hasOwnProperty.call(commands, name))
    fail((hasName ? "There is no command `" + name + "`." : "Which command?") + "\n" + usage.replace(/^/gm, "  "));
  // A command reads what stands after its name.
  if (hasName) process.argv.splice(2, 1);
  commands[name]();
}

function fail(text) {
  process.stderr.write("\nerror: " + text + "\n");
  process.exit(1);
}
