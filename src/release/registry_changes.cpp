// What changes a registry. Each change becomes true with one entry of the log, which is written last: a
// process that is killed before it has changed nothing that counts.
#include <algorithm>
#include <cctype>
#include <ctime>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/manifest.hpp"
#include "cai/release/model_signature.hpp"
#include "cai/release/registry.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kLongestName = 100;     // bytes
constexpr std::size_t kLongestReason = 1000;  // bytes

/// Linked where the file system can, else copied; durable.
void take_file(const fs::path& from, const fs::path& to) {
  create_folders(to.parent_path());
  std::error_code failed;
  fs::create_hard_link(from, to, failed);
  if (failed) {
    fs::copy_file(from, to);
    AppendFile(to, fs::file_size(to)).sync();
  }
  sync_folder(to.parent_path());
}

/// MAJOR.MINOR.PATCH, with an optional -NAME.
bool is_version(const std::string& text) {
  const std::string numbers = text.substr(0, text.find('-'));
  const std::string name = numbers.size() < text.size() ? text.substr(numbers.size() + 1) : "x";
  const std::vector<std::string> parts = split(numbers, '.');
  const auto is_number = [](const std::string& part) {
    return !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
  };
  const auto is_plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '.'; };
  return parts.size() == 3 && std::all_of(parts.begin(), parts.end(), is_number) && !name.empty() &&
         name.size() <= 40 && std::all_of(name.begin(), name.end(), is_plain);
}

bool is_alias(const std::string& text) {
  const auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 40 && text[0] >= 'a' && text[0] <= 'z' &&
         std::all_of(text.begin(), text.end(), is_plain);
}

void check_actor(const Actor& actor, bool needs_reason) {
  const auto check = [](const std::string& text, const char* flag, std::size_t longest) {
    if (text.size() > longest || one_line(text) != text)
      throw UsageError(std::string(flag) + ": accepted: one line of at most " + std::to_string(longest) +
                       " bytes");
  };
  if (trim(actor.name).empty()) throw UsageError("--by is empty; give the name of the person who decides");
  if (needs_reason && trim(actor.reason).empty()) throw UsageError("--reason is needed");
  check(actor.name, "--by", kLongestName);
  check(actor.reason, "--reason", kLongestReason);
}

void check_signed(const ReleasePolicy& policy, const Actor& actor) {
  if (!actor.key && policy.approvals > 1)
    refuse_release("unsigned decisions count only with approvals: 1; release.yaml asks for " +
                   std::to_string(policy.approvals) + ": --key is needed");
}

Json card_of(const ReleasedRun& run, const std::string& version, const Actor& actor) {
  const std::string model = run.figures["models"].back().get<std::string>();
  Json measures = Json::object();
  const Json all = run.figures.value("measures", Json::object());
  for (const auto& [name, by_model] : all.items())
    if (by_model.contains(model)) measures[name] = by_model[model];
  const fs::path whole = fs::absolute(run.run).lexically_normal();
  Json card = {{"version", version},
               {"run", (whole.has_filename() ? whole : whole.parent_path()).filename().string()},
               {"proposed_by", actor.name},
               {"reason", actor.reason},
               {"measured", model},
               {"figures", measures}};
  for (const char* fact : {"constitution", "model", "prompts", "seed", "cai", "machine"})
    card[fact] = run.facts.value(fact, Json());
  if (card["model"].is_object() && card["model"].contains("name"))  // of a path the last part
    card["model"]["name"] = fs::path(card["model"]["name"].get<std::string>()).filename().string();
  card["limits"] = {
      "Intervals are 95 % intervals over the held-out prompts of this run, and say nothing of "
      "other requests.",
      "Refusals are recognised by English phrases, with a known error."};
  return card;
}

}  // namespace

GateTable Registry::propose(const ReleasedRun& run, const std::string& version, const Actor& actor) {
  if (!is_version(version))
    throw UsageError("--version: found " + in_quotes(version) + "; accepted: MAJOR.MINOR.PATCH, e.g. 1.3.0");
  check_actor(actor, true);
  for (const Release& known : releases_)
    if (known.proposed.version == version)
      refuse_release(version + " is in this registry; a version is never replaced");
  const ReleasePolicy policy = read_policy(folder_ / "release.yaml");
  check_signed(policy, actor);
  log_.check_key(actor);
  const GateTable table = gate_run(run, policy, production_constitution(), std::time(nullptr));
  if (!table.passed()) return table;
  build(run, version, table, policy, actor);
  const fs::path folder = folder_of(version);
  const Json fields = {{"run", card_of(run, version, actor)["run"]},
                       {"constitution", run.facts.value("constitution", Json())},
                       {"manifest", sha256_file(folder / "manifest.json")},
                       {"signature_file", actor.key ? sha256_file(folder / "model.sig") : ""},
                       {"policy", policy.sha256},
                       {"approvals", policy.approvals},
                       {"author_may_not", policy.author_may_not}};
  log_.append("proposed", version, fields, actor);
  follow(log_.entries().back());
  return table;
}

void Registry::build(const ReleasedRun& run, const std::string& version, const GateTable& table,
                     const ReleasePolicy& policy, const Actor& actor) {
  const fs::path begun = folder_ / "models" / ("." + version + ".tmp");
  remove_path(begun);
  create_folders(begun / "checkpoint");
  for (const std::string& name : files_below(run.checkpoint, {}))
    take_file(run.checkpoint / name, begun / "checkpoint" / name);
  for (const char* name : {"constitution.yaml", "report.html"})
    if (fs::exists(run.run / name)) take_file(run.run / name, begun / name);
  write_file(begun / "release.yaml", policy.source);
  write_file(begun / "gates.json", to_lines(to_json(table)));
  write_file(begun / "card.json", to_lines(card_of(run, version, actor)));
  Manifest manifest{.stage = "release", .key = read_manifest(run.eval)->key, .figures = run.figures};
  for (const std::string& name : files_below(begun, {}))
    manifest.files.push_back({name, -1, sha256_file(begun / name)});
  write_manifest(begun, manifest);
  const fs::path whole = fs::absolute(folder_).lexically_normal();
  const std::string registry = (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  if (actor.key) sign_folder(begun, begun / "model.sig", *actor.key, registry + " " + version);
  remove_path(folder_of(version));  // of a proposal that was killed before the log said so
  rename_durably(begun, folder_of(version));
}

void Registry::check_unharmed(const Release& release) const {
  const std::vector<std::string> damage = damage_of(release);
  if (!damage.empty()) refuse_release(release.proposed.version + " is damaged: " + damage.front());
}

void Registry::approve(const std::string& version, const Actor& actor) {
  const Release& found = release(version);
  check_actor(actor, false);
  if (found.revoked) refuse_release(refusal_of(found));
  if (const std::string why = policy_refusal(found); !why.empty()) refuse_release(why);
  check_unharmed(found);
  const ReleasePolicy policy = policy_of(found);
  check_signed(policy, actor);
  log_.check_key(actor);
  for (const LogEntry& approval : found.approvals)
    if (is_same_person(approval.by, actor.name))
      refuse_release(approval.by + " has approved " + found.proposed.version +
                     " already; approvals are by different people");
  if (policy.author_may_not && is_same_person(found.proposed.by, actor.name))
    refuse_release(found.proposed.by + " proposed " + found.proposed.version +
                   " and may not approve it (author_may_not)");
  const Json fields = {{"manifest", found.proposed.text("manifest")},
                       {"gates", sha256_file(folder_of(found.proposed.version) / "gates.json")}};
  log_.append("approved", found.proposed.version, fields, actor);
  follow(log_.entries().back());
}

void Registry::move_alias(const std::string& alias, const std::string& version, const Actor& actor) {
  if (!is_alias(alias))
    throw UsageError("--alias: found " + in_quotes(alias) +
                     "; accepted: a name of lower-case letters, digits and hyphens, e.g. production=1.3.0");
  const Release& found = release(version);
  for (const Release& one : releases_)
    if (one.proposed.version == alias) throw UsageError("--alias: " + alias + " is a version");
  check_actor(actor, false);
  if (const std::string why = refusal_of(found); !why.empty()) refuse_release(why);
  check_unharmed(found);
  check_signed(policy_of(found), actor);
  log_.check_key(actor);
  const std::map<std::string, LogEntry> named = aliases();
  const auto before = named.find(alias);
  const Json fields = {{"alias", alias}, {"before", before == named.end() ? "" : before->second.version}};
  log_.append("alias", found.proposed.version, fields, actor);
}

void Registry::revoke(const std::string& version, const Actor& actor) {
  const Release& found = release(version);
  check_actor(actor, true);
  if (found.revoked) refuse_release(refusal_of(found));
  log_.check_key(actor);
  log_.append("revoked", found.proposed.version, Json::object(), actor);
  follow(log_.entries().back());
}

}  // namespace cai
