// A registry of releases: a folder with release.yaml (the policy in force), log.jsonl, models/VERSION and
// keys/. Versions are proposed, approved by people, named by aliases and revoked; none is ever changed.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cai/io/file.hpp"
#include "cai/release/gating.hpp"
#include "cai/release/policy.hpp"
#include "cai/release/registry_log.hpp"

namespace cai {

/// One version and what was done with it.
struct Release {
  LogEntry proposed;
  std::vector<LogEntry> approvals;
  std::optional<LogEntry> revoked;
};

class Registry {
 public:
  /// `to_change`: holds the registry's lock. Throws InputError for a folder without release.yaml, and with
  /// all problems of the log.
  explicit Registry(const std::filesystem::path& folder, bool to_change = false);

  const std::filesystem::path& folder() const { return folder_; }
  const std::vector<LogEntry>& log() const { return log_.entries(); }
  std::string head() const { return log_.head(); }

  /// Versions in the order in which they were proposed.
  const std::vector<Release>& releases() const { return releases_; }

  /// By its version, or by an alias. Throws UsageError, naming the nearest one.
  const Release& release(const std::string& name) const;

  /// Alias -> the entry that moved it last; of entries up to the time `until` where that is not "".
  std::map<std::string, LogEntry> aliases(const std::string& until = "") const;

  std::filesystem::path folder_of(const std::string& version) const { return folder_ / "models" / version; }

  /// The policy that a version was gated by.
  ReleasePolicy policy_of(const Release& release) const;

  /// "proposed, 1 of 2 approvals", "approved", "revoked"
  std::string state_of(const Release& release) const;

  /// Constitution of the version that "production" names, empty where there is none.
  std::filesystem::path production_constitution() const;

  /// Gates the run and takes it in under this version. Where a gate fails, nothing is created and the table
  /// says so.
  GateTable propose(const ReleasedRun& run, const std::string& version, const Actor& actor);

  void approve(const std::string& version, const Actor& actor);
  void move_alias(const std::string& alias, const std::string& version, const Actor& actor);
  void revoke(const std::string& version, const Actor& actor);

  /// One line for each file of the version that is not what was proposed.
  std::vector<std::string> damage_of(const Release& release) const;

  /// Why a version may not be used: revoked, too few approvals, another policy; "" where it may.
  std::string refusal_of(const Release& release) const;

 private:
  void build(const ReleasedRun& run, const std::string& version, const GateTable& table,
             const ReleasePolicy& policy, const Actor& actor);
  void check_unharmed(const Release& release) const;
  void follow(const LogEntry& entry);
  std::string policy_refusal(const Release& release) const;

  std::filesystem::path folder_;
  std::unique_ptr<FolderLock> lock_;
  std::vector<std::string> problems_;
  RegistryLog log_;
  std::vector<Release> releases_;
};

/// What is wrong with a registry: `damage` by the bits, `refused` by the rules (a version that an alias names
/// is revoked, or was gated by another policy). `trusted`: where not empty, only these keys may have signed.
struct RegistryProblems {
  std::vector<std::string> damage, refused;
};
RegistryProblems verify_registry(const std::filesystem::path& folder, const std::vector<PublicKey>& trusted);

}  // namespace cai
