// The log of a registry: one JSON object a line, each with the hash of the one before. It is the registry's
// only state: what is not in it did not happen.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/release/keys.hpp"

namespace cai {

/// Who acts, why, and with which key.
struct Actor {
  std::string name, reason;
  std::optional<SigningKey> key;
};

struct LogEntry {
  std::string time;     // 2026-05-03T10:00:00Z
  std::string event;    // proposed, approved, revoked, alias
  std::string version;  // 1.3.0
  std::string by, reason;
  std::string key;   // hint of the key that signed it, "" for none
  std::string hash;  // of the entry; the next one names it
  Json json;         // all of it

  std::string text(const char* field) const { return json.value(field, std::string()); }
};

class RegistryLog {
 public:
  /// Reads REGISTRY/log.jsonl. What is wrong with it goes to `problems`, one line each.
  RegistryLog(const std::filesystem::path& registry, std::vector<std::string>& problems);

  const std::vector<LogEntry>& entries() const { return entries_; }

  /// Appends an entry and makes it durable: afterwards the log holds all of it, or none where this throws.
  /// `fields`: what the event needs beside who, when and why.
  void append(const std::string& event, const std::string& version, const Json& fields, const Actor& actor);

  /// Throws an error with exit code 100 where this name may not act with this key: it has acted with another
  /// one, or the key is another name's.
  void check_key(const Actor& actor) const;

  /// The hash of the last entry, "" of an empty log.
  std::string head() const { return entries_.empty() ? "" : entries_.back().hash; }

 private:
  void take(const std::string& line, long number, std::vector<std::string>& problems);
  void check_signature(const LogEntry& entry, const std::string& where,
                       std::vector<std::string>& problems) const;
  std::filesystem::path key_file(const std::string& hint) const;

  std::filesystem::path registry_, file_;
  std::string text_;
  std::vector<LogEntry> entries_;
};

/// "N. N." and " n. n." are one person.
bool is_same_person(const std::string& a, const std::string& b);

/// Seconds since 1970 as 2026-05-03T10:00:00Z.
std::string utc_text(long seconds);

/// A refusal by the rules of release: exit code 100.
[[noreturn]] void refuse_release(const std::string& why);

}  // namespace cai
