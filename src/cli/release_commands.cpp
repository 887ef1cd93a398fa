// gate, promote, registry and key: releases under people's control. None of it needs a model.
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <iostream>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/cli/commands.hpp"
#include "cai/pipeline/run.hpp"
#include "cai/release/model_signature.hpp"
#include "cai/release/registry.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPassphraseVariable = "CAI_KEY_PASSPHRASE";

/// A line from the terminal, not shown while it is typed.
std::string ask_hidden(const std::string& question) {
  std::cerr << question << std::flush;
  termios before{};
  ::tcgetattr(STDIN_FILENO, &before);
  termios hidden = before;
  hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  std::string line;
  std::getline(std::cin, line);
  ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
  std::cerr << "\n";
  return line;
}

std::string passphrase_of(const std::string& file) {
  if (const char* given = std::getenv(kPassphraseVariable); given && *given) return given;
  if (::isatty(STDIN_FILENO)) return ask_hidden("Passphrase of " + printable(file) + ": ");
  throw UsageError(file + " is encrypted, and there is no terminal to ask for its passphrase; set " +
                   kPassphraseVariable);
}

std::string new_passphrase() {
  if (const char* given = std::getenv(kPassphraseVariable); given && *given) return given;
  if (!::isatty(STDIN_FILENO))
    throw UsageError(std::string("there is no terminal to ask for a passphrase; set ") + kPassphraseVariable +
                     ", or give --no-passphrase");
  const std::string first = ask_hidden("Passphrase: ");
  if (first.empty()) throw UsageError("the passphrase is empty; --no-passphrase makes a key without one");
  if (ask_hidden("The same again: ") != first) throw UsageError("the two passphrases differ");
  return first;
}

/// Columns as wide as their longest cell; the last one is not filled.
void print_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    while (line.ends_with(' '))
      line.pop_back();
    std::cout << printable(line) << "\n";
  }
}

void print_gates(const std::vector<GateRow>& rows) {
  std::vector<std::vector<std::string>> cells = {{"condition", "value", "used", "passed", ""}};
  for (const GateRow& row : rows)
    cells.push_back({row.condition, row.value, row.used, row.passed ? "yes" : "NO", row.note});
  print_table(cells);
}

int tell_gates(const GateTable& table, bool as_json) {
  if (as_json)
    std::cout << to_lines(to_json(table));
  else
    print_gates(table.rows);
  return table.passed() ? kDone : kGateFailed;
}

void print_diff(const Json& diff) {
  if (!diff.is_object() || diff.value("level", "none") == "none") return;
  std::cout << "\nconstitution, against the version in production (" << printable(diff.value("from", ""))
            << " to " << printable(diff.value("to", "")) << ", " << diff.value("level", "") << "):\n";
  for (const Json& change : diff.at("principles")) {
    std::cout << "  " << printable(change.value("kind", "")) << " " << printable(change.value("id", ""));
    if (const std::string words = change.value("words", ""); !words.empty())
      std::cout << ": " << one_line(words);
    std::cout << "\n";
  }
}

ReleasedRun released_run(const std::string& run) {
  if (!fs::exists(fs::path(run) / "run.json")) throw InputError(run, 0, "not a run (no run.json)");
  return read_released_run(run, find_model(run, false));
}

int run_gate(const Arguments& a) {
  const ReleaseArguments& r = a.release;
  if (r.policy.empty() == r.to.empty()) throw UsageError("cai gate: give --policy FILE or --to REGISTRY");
  if (!r.policy.empty()) {
    const ReleasePolicy policy = read_policy(r.policy);
    return tell_gates(gate_run(released_run(r.place), policy, {}, std::time(nullptr)), a.json);
  }
  const Registry registry(r.to);
  const ReleasePolicy policy = read_policy(registry.folder() / "release.yaml");
  const GateTable table =
      gate_run(released_run(r.place), policy, registry.production_constitution(), std::time(nullptr));
  const int code = tell_gates(table, a.json);
  if (!a.json) print_diff(table.diff);
  return code;
}

Actor actor_of(const ReleaseArguments& r) {
  if (r.by.empty()) throw UsageError("cai promote: --by is needed: the name of the person who decides");
  Actor actor{.name = r.by, .reason = r.reason};
  if (!r.key.empty()) actor.key = read_signing_key(r.key, passphrase_of);
  return actor;
}

int propose(const Arguments& a) {
  const ReleaseArguments& r = a.release;
  if (r.version.empty()) throw UsageError("cai promote: --version is needed with --to, e.g. 1.3.0");
  const Actor actor = actor_of(r);
  Registry registry(r.to, true);
  const GateTable table = registry.propose(released_run(r.place), r.version, actor);
  const int code = tell_gates(table, a.json);
  if (a.json) return code;
  print_diff(table.diff);
  if (code != kDone) {
    std::cout << "\na condition does not hold: nothing was proposed\n";
    return code;
  }
  std::cout << "\n"
            << r.version << ": " << registry.state_of(registry.release(r.version)) << " ("
            << printable(registry.folder_of(r.version).string()) << ")\n";
  return code;
}

int tell_version(const Registry& registry, const std::string& version, const Arguments& a) {
  const Release& release = registry.release(version);
  const std::string state = registry.state_of(release);
  if (a.json)
    std::cout << to_lines(
        {{"version", release.proposed.version}, {"state", state}, {"head", registry.head()}});
  else
    std::cout << release.proposed.version << ": " << state << "\n";
  return kDone;
}

int approve(const Arguments& a) {
  const Actor actor = actor_of(a.release);
  Registry registry(a.release.place, true);
  const std::string version = a.release.approve;
  registry.approve(version, actor);
  if (!a.json) {
    const fs::path gates = registry.folder_of(registry.release(version).proposed.version) / "gates.json";
    print_diff(parse_json(read_file(gates), gates.string()).value("diff", Json()));
  }
  return tell_version(registry, version, a);
}

int move_alias(const Arguments& a) {
  const std::size_t at = a.release.alias.find('=');
  if (at == std::string::npos)
    throw UsageError("--alias: found " + in_quotes(a.release.alias) +
                     "; accepted: ALIAS=VERSION, e.g. production=1.3.0");
  const Actor actor = actor_of(a.release);
  Registry registry(a.release.place, true);
  const std::string alias = a.release.alias.substr(0, at);
  registry.move_alias(alias, a.release.alias.substr(at + 1), actor);
  const LogEntry moved = registry.log().back();
  if (a.json) {
    std::cout << to_lines(moved.json);
    return kDone;
  }
  const std::string before = moved.text("before");
  std::cout << alias << ": " << (before.empty() ? "none" : before) << " -> " << moved.version << "\n";
  return kDone;
}

int revoke(const Arguments& a) {
  const Actor actor = actor_of(a.release);
  Registry registry(a.release.place, true);
  registry.revoke(a.release.revoke, actor);
  for (const auto& [alias, entry] : registry.aliases())
    if (entry.version == registry.log().back().version)
      std::cerr << "warning: the alias " << alias << " names it; --alias " << alias << "=VERSION moves it\n";
  return tell_version(registry, a.release.revoke, a);
}

int run_promote(const Arguments& a) {
  const ReleaseArguments& r = a.release;
  const int actions = !r.to.empty() + !r.approve.empty() + !r.alias.empty() + !r.revoke.empty();
  if (actions != 1) throw UsageError("cai promote: give one of --to (propose), --approve, --alias, --revoke");
  if (r.to.empty() && !r.version.empty()) throw UsageError("cai promote: --version goes with --to");
  if (!r.to.empty()) return propose(a);
  if (!r.approve.empty()) return approve(a);
  return r.alias.empty() ? revoke(a) : move_alias(a);
}

std::string aliases_of(const Registry& registry, const std::string& version) {
  std::string names;
  for (const auto& [alias, entry] : registry.aliases())
    if (entry.version == version) names += (names.empty() ? "" : ", ") + alias;
  return names;
}

std::string constitution_of(const Release& release) {
  const Json constitution = release.proposed.json.value("constitution", Json::object());
  return constitution.value("name", "") + " " + constitution.value("version", "");
}

std::string signed_text(const LogEntry& entry) {
  return entry.key.empty() ? "unsigned" : "signed " + entry.key.substr(0, 12);
}

int list_registry(const Arguments& a) {
  const Registry registry(a.release.place);
  std::vector<std::vector<std::string>> cells = {
      {"version", "state", "alias", "constitution", "proposed by", "at", ""}};
  Json all = Json::array();
  for (const Release& one : registry.releases()) {
    const std::string& version = one.proposed.version;
    cells.push_back({version, registry.state_of(one), aliases_of(registry, version), constitution_of(one),
                     one.proposed.by, one.proposed.time, signed_text(one.proposed)});
    all.push_back({{"version", version},
                   {"state", registry.state_of(one)},
                   {"aliases", aliases_of(registry, version)},
                   {"folder", registry.folder_of(version).string()},
                   {"proposed", one.proposed.json}});
  }
  if (a.json)
    std::cout << to_lines(all);
  else
    print_table(cells);
  return kDone;
}

const Release& shown_release(const Registry& registry, const std::string& name) {
  if (!name.empty()) return registry.release(name);
  if (registry.releases().empty())
    throw UsageError(registry.folder().string() + ": no version was proposed yet");
  const std::map<std::string, LogEntry> aliases = registry.aliases();
  const bool has_production = aliases.contains("production");
  return has_production ? registry.release("production") : registry.releases().back();
}

Json show_json(const Registry& registry, const Release& release, const Json& gates) {
  Json approvals = Json::array();
  for (const LogEntry& entry : release.approvals)
    approvals.push_back(entry.json);
  return {{"version", release.proposed.version},
          {"state", registry.state_of(release)},
          {"refused", registry.refusal_of(release)},
          {"folder", registry.folder_of(release.proposed.version).string()},
          {"proposed", release.proposed.json},
          {"approvals", approvals},
          {"revoked", release.revoked ? release.revoked->json : Json()},
          {"gates", gates}};
}

void print_act(const char* what, const LogEntry& entry) {
  std::cout << what << printable(entry.by) << ", " << entry.time << ", " << signed_text(entry);
  if (!entry.reason.empty()) std::cout << ": " << printable(entry.reason);
  std::cout << "\n";
}

int show_registry(const Arguments& a) {
  const Registry registry(a.release.place);
  const Release& release = shown_release(registry, a.release.name);
  const std::string& version = release.proposed.version;
  if (const std::vector<std::string> damage = registry.damage_of(release); !damage.empty())
    throw InputError(damage.front());
  const fs::path file = registry.folder_of(version) / "gates.json";
  const Json gates = parse_json(read_file(file), file.string());
  if (a.json) {
    std::cout << to_lines(show_json(registry, release, gates));
    return kDone;
  }
  const std::string names = aliases_of(registry, version);
  std::cout << version << ": " << registry.state_of(release) << (names.empty() ? "" : ", " + names) << "\n"
            << "folder        " << printable(registry.folder_of(version).string()) << "\n"
            << "constitution  " << printable(constitution_of(release)) << "\n";
  print_act("proposed by   ", release.proposed);
  for (const LogEntry& entry : release.approvals)
    print_act("approved by   ", entry);
  if (release.revoked) print_act("revoked by    ", *release.revoked);
  if (const std::string why = registry.refusal_of(release); !why.empty())
    std::cout << "not usable    " << printable(why) << "\n";
  std::cout << "\n";
  print_gates(rows_of(gates));
  print_diff(gates.value("diff", Json()));
  return kDone;
}

/// The last moment of what was typed.
std::string end_of(const std::string& at) {
  const auto fits = [&](const std::string& form) {
    bool is_good = at.size() == form.size();
    for (std::size_t i = 0; is_good && i < form.size(); ++i)
      is_good = form[i] == '0' ? (at[i] >= '0' && at[i] <= '9') : at[i] == form[i];
    return is_good;
  };
  if (at.empty() || fits("0000-00-00T00:00:00Z")) return at;
  if (fits("0000-00-00")) return at + "T23:59:59Z";
  throw UsageError("--at: found " + in_quotes(at) + "; accepted: 2026-05-03 or 2026-05-03T10:00:00Z");
}

int log_of_registry(const Arguments& a) {
  const std::string until = end_of(a.release.at);
  const Registry registry(a.release.place);
  std::vector<std::vector<std::string>> cells = {{"time", "event", "version", "by", "", "reason"}};
  Json entries = Json::array();
  for (const LogEntry& entry : registry.log()) {
    if (!until.empty() && entry.time > until) continue;
    const std::string alias = entry.event == "alias" ? " " + entry.text("alias") : "";
    cells.push_back(
        {entry.time, entry.event + alias, entry.version, entry.by, signed_text(entry), entry.reason});
    entries.push_back(entry.json);
  }
  Json named = Json::object();
  for (const auto& [alias, entry] : registry.aliases(until))
    named[alias] = entry.version;
  if (a.json) {
    std::cout << to_lines({{"entries", entries}, {"aliases", named}});
    return kDone;
  }
  print_table(cells);
  std::cout << "\n" << (until.empty() ? "now" : "at " + until) << ":\n";
  for (const auto& [alias, entry] : registry.aliases(until))
    std::cout << "  " << alias << " is " << entry.version << ", since " << entry.time << " by "
              << printable(entry.by) << "\n";
  if (named.empty()) std::cout << "  no alias names a version\n";
  return kDone;
}

int verify_registry_command(const Arguments& a) {
  std::vector<PublicKey> trusted;
  for (const std::string& file : a.release.keys)
    trusted.push_back(read_public_key(file));
  const RegistryProblems problems = verify_registry(a.release.place, trusted);
  if (a.json) {
    std::cout << to_lines({{"damage", problems.damage}, {"refused", problems.refused}});
  } else {
    for (const std::string& line : problems.damage)
      std::cout << printable(line) << "\n";
    for (const std::string& line : problems.refused)
      std::cout << "refused: " << printable(line) << "\n";
  }
  if (!problems.damage.empty()) return kFailed;
  if (!problems.refused.empty()) return kGateFailed;
  if (a.json) return kDone;
  const Registry registry(a.release.place);
  std::cout << registry.releases().size() << " versions, " << registry.log().size()
            << " entries in the log: every file, hash and signature is as it was written\nhead "
            << registry.head() << "\n";
  return kDone;
}

int run_registry(const Arguments& a) {
  if (a.command == "registry list") return list_registry(a);
  if (a.command == "registry show") return show_registry(a);
  if (a.command == "registry log") return log_of_registry(a);
  return verify_registry_command(a);
}

int new_key(const Arguments& a) {
  const fs::path name = a.release.name;
  const std::string passphrase = a.release.without_passphrase ? "" : new_passphrase();
  const SigningKey key = make_key(name, passphrase);
  const std::string secret = name.string() + ".key";
  const std::string open = name.string() + ".pub";
  const std::string hint = key.public_key().hint();
  if (a.json)
    std::cout << to_lines({{"private", secret}, {"public", open}, {"hint", hint}});
  else
    std::cout << printable(secret) << "  signs: keep it secret\n"
              << printable(open) << "  verifies: give it to others\nhint " << hint << "\n";
  return kDone;
}

int run_key(const Arguments& a) {
  if (a.command == "key new") return new_key(a);
  const ReleaseArguments& r = a.release;
  const fs::path folder = r.place;
  const fs::path file = r.signature.empty() ? folder / "model.sig" : fs::path(r.signature);
  if (a.command == "key sign") {
    sign_folder(folder, file, read_signing_key(r.key, passphrase_of));
    if (!a.json) std::cout << printable(file.string()) << "\n";
    return kDone;
  }
  const std::vector<std::string> problems = verify_folder(folder, file, read_public_key(r.key));
  if (a.json)
    std::cout << to_lines(Json(problems));
  else
    for (const std::string& line : problems)
      std::cout << printable(line) << "\n";
  if (problems.empty() && !a.json) std::cout << "every file is as it was signed\n";
  return problems.empty() ? kDone : kFailed;
}

}  // namespace

int run_release(const Arguments& a) {
  if (a.command == "gate") return run_gate(a);
  if (a.command == "promote") return run_promote(a);
  return a.command.starts_with("key ") ? run_key(a) : run_registry(a);
}

}  // namespace cai
