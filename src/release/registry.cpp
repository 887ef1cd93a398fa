#include "cai/release/registry.hpp"

#include <algorithm>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/manifest.hpp"
#include "cai/release/model_signature.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

fs::path checked_folder(const fs::path& folder) {
  if (!fs::is_directory(folder)) throw InputError(folder.string(), 0, "no such registry");
  if (!fs::exists(folder / "release.yaml"))
    throw InputError(folder.string(), 0,
                     "no release.yaml in it; a registry is a folder with the policy of its releases "
                     "(docs/guides/release.md)");
  return folder;
}

/// Approvals by the rules of the policy that the version was gated by: whoever wrote the log, only those
/// count that this program would have taken.
long counted_approvals(const Release& release) {
  const LogEntry& proposed = release.proposed;
  const bool needs_key = proposed.json.value("approvals", 1L) > 1;
  const bool author_may_not = proposed.json.value("author_may_not", false);
  std::vector<const LogEntry*> counted;
  for (const LogEntry& one : release.approvals) {
    const bool is_known = std::any_of(counted.begin(), counted.end(), [&](const LogEntry* other) {
      return is_same_person(one.by, other->by) || (!one.key.empty() && one.key == other->key);
    });
    const bool is_authors =
        is_same_person(one.by, proposed.by) || (!one.key.empty() && one.key == proposed.key);
    const bool is_right = one.text("manifest") == proposed.text("manifest");
    if (is_right && !is_known && !(author_may_not && is_authors) && !(needs_key && one.key.empty()))
      counted.push_back(&one);
  }
  return static_cast<long>(counted.size());
}

}  // namespace

Registry::Registry(const fs::path& folder, bool to_change)
    : folder_(checked_folder(folder)),
      lock_(to_change ? std::make_unique<FolderLock>(folder) : nullptr),
      log_(folder, problems_) {
  throw_problems(problems_);
  if (to_change) remove_unpublished(folder);
  for (const LogEntry& entry : log_.entries())
    follow(entry);
}

void Registry::follow(const LogEntry& entry) {
  if (entry.event == "proposed") {
    releases_.push_back({entry, {}, {}});
    return;
  }
  for (Release& one : releases_) {
    if (one.proposed.version != entry.version) continue;
    if (entry.event == "approved") one.approvals.push_back(entry);
    if (entry.event == "revoked") one.revoked = entry;
  }
}

const Release& Registry::release(const std::string& name) const {
  const std::map<std::string, LogEntry> named = aliases();
  const auto alias = named.find(name);
  const std::string version = alias == named.end() ? name : alias->second.version;
  std::vector<std::string> known;
  for (const Release& one : releases_) {
    if (one.proposed.version == version) return one;
    known.push_back(one.proposed.version);
  }
  for (const auto& [known_alias, entry] : named)
    known.push_back(known_alias);
  const std::string near = nearest(name, known);
  throw UsageError(folder_.string() + ": no version or alias " + in_quotes(name) +
                   (near.empty() ? "" : "; did you mean " + near + "?"));
}

std::map<std::string, LogEntry> Registry::aliases(const std::string& until) const {
  std::map<std::string, LogEntry> named;
  for (const LogEntry& entry : log_.entries())
    if (entry.event == "alias" && (until.empty() || entry.time <= until)) named[entry.text("alias")] = entry;
  return named;
}

ReleasePolicy Registry::policy_of(const Release& release) const {
  return read_policy(folder_of(release.proposed.version) / "release.yaml");
}

std::string Registry::state_of(const Release& release) const {
  if (release.revoked) return "revoked";
  const long needed = release.proposed.json.value("approvals", 1L);
  const long have = counted_approvals(release);
  if (have >= needed) return "approved";
  return "proposed, " + std::to_string(have) + " of " + std::to_string(needed) + " approvals";
}

fs::path Registry::production_constitution() const {
  const std::map<std::string, LogEntry> named = aliases();
  const auto found = named.find("production");
  return found == named.end() ? fs::path() : folder_of(found->second.version) / "constitution.yaml";
}

std::vector<std::string> Registry::damage_of(const Release& release) const {
  const fs::path folder = folder_of(release.proposed.version);
  const fs::path signature = folder / "model.sig";
  const std::string signature_hash = release.proposed.text("signature_file");
  if (!fs::is_directory(folder)) return {folder.string() + ": missing"};
  std::vector<std::string> lines;
  const auto note = [&](const std::string& line) {
    if (!line.empty()) lines.push_back(line);
  };
  note(file_problem(folder / "manifest.json", release.proposed.text("manifest")));
  for (const std::string& line : verify_manifest(folder))
    note(line);
  if (!signature_hash.empty()) note(file_problem(signature, signature_hash));
  if (!lines.empty()) return lines;  // the manifest cannot be believed, or a file is named already
  std::vector<std::string> listed = {"manifest.json"};
  if (!signature_hash.empty()) listed.push_back("model.sig");
  const std::optional<Manifest> manifest = read_manifest(folder);
  for (const ManifestFile& file : manifest->files)
    listed.push_back(file.file);
  for (const std::string& name : files_below(folder, listed))
    lines.push_back((folder / printable(name)).string() + ": was not proposed");
  if (!signature_hash.empty()) {
    const PublicKey key = read_public_key(folder_ / "keys" / (release.proposed.key + ".pub"));
    for (const std::string& line : verify_folder(folder, signature, key))
      note(line);
  }
  return lines;
}

std::string Registry::policy_refusal(const Release& release) const {
  const ReleasePolicy now = read_policy(folder_ / "release.yaml");
  if (now.sha256 == release.proposed.text("policy")) return "";
  std::string line = release.proposed.version + " was gated by another release.yaml";
  const std::vector<std::string> changes = policy_changes(policy_of(release), now);
  for (std::size_t i = 0; i < changes.size(); ++i)
    line += (i == 0 ? ": " : ", ") + changes[i];
  return line + (changes.empty() ? " (the demands are the same)" : "") +
         "; propose the run again under a new version";
}

std::string Registry::refusal_of(const Release& release) const {
  const std::string& version = release.proposed.version;
  if (release.revoked)
    return version + " was revoked by " + release.revoked->by + " (" + release.revoked->reason + ")";
  if (const std::string state = state_of(release); state != "approved") return version + " is " + state;
  return policy_refusal(release);
}

RegistryProblems verify_registry(const fs::path& folder, const std::vector<PublicKey>& trusted) {
  RegistryProblems problems;
  RegistryLog log(checked_folder(folder), problems.damage);
  if (!problems.damage.empty()) return problems;  // what the log says cannot be believed
  const Registry registry(folder);
  for (const LogEntry& entry : log.entries()) {
    const bool is_trusted = std::any_of(trusted.begin(), trusted.end(),
                                        [&](const PublicKey& key) { return key.hint() == entry.key; });
    if (!trusted.empty() && !is_trusted)
      problems.refused.push_back(
          "entry " + entry.json["n"].dump() + " (" + entry.event + " " + entry.version + " by " + entry.by +
          ") " + (entry.key.empty() ? "is unsigned" : "is signed with a key that is not given"));
  }
  for (const Release& release : registry.releases())
    for (const std::string& line : registry.damage_of(release))
      problems.damage.push_back(line);
  if (!problems.damage.empty()) return problems;
  for (const auto& [alias, entry] : registry.aliases()) {
    const Release& release = registry.release(entry.version);
    const std::string why = registry.refusal_of(release);
    if (!why.empty())
      problems.refused.push_back(alias + ": " + why);
    else if (entry.key.empty() && release.proposed.json.value("approvals", 1L) > 1)
      problems.refused.push_back(alias + ": the entry that moved it to " + entry.version + " is unsigned");
  }
  return problems;
}

}  // namespace cai
