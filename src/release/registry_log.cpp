#include "cai/release/registry_log.hpp"

#include <sys/stat.h>

#include <ctime>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/release/model_signature.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kEntryType = "application/vnd.cai.registry-entry+json";

/// What the entry's signature is of.
std::string signed_bytes(Json entry) {
  entry.erase("hash");
  entry.erase("signature");
  return dsse_bytes(kEntryType, to_line(entry));
}

std::string hash_of_entry(Json entry) {
  entry.erase("hash");
  return sha256(to_line(entry));
}

std::string normal_name(const std::string& name) {
  std::string normal;
  for (const std::string& word : split(lower_ascii(name), ' '))
    if (!word.empty()) normal += (normal.empty() ? "" : " ") + word;
  return normal;
}

std::string short_hint(const std::string& hint) {
  return hint.substr(0, 12) + "...";
}

}  // namespace

bool is_same_person(const std::string& a, const std::string& b) {
  return normal_name(a) == normal_name(b);
}

std::string utc_text(long seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

void refuse_release(const std::string& why) {
  throw Error(kGateFailed, "refused: " + why);
}

RegistryLog::RegistryLog(const fs::path& registry, std::vector<std::string>& problems)
    : registry_(registry), file_(registry / "log.jsonl") {
  if (!fs::exists(file_)) return;
  text_ = read_file(file_);
  std::vector<std::string> lines = split(text_, '\n');
  if (!text_.empty() && !text_.ends_with('\n'))
    problems.push_back(file_.string() + ": the last line does not end; it was edited");
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  for (std::size_t i = 0; i < lines.size(); ++i)
    take(lines[i], static_cast<long>(i) + 1, problems);
}

void RegistryLog::take(const std::string& line, long number, std::vector<std::string>& problems) {
  const std::string where = file_.string() + ":" + std::to_string(number) + ": ";
  LogEntry entry;
  try {
    entry.json = parse_json(line, file_.string(), number);
    entry.time = entry.json.at("time").get<std::string>();
    entry.event = entry.json.at("event").get<std::string>();
    entry.version = entry.json.at("version").get<std::string>();
    entry.by = entry.json.at("by").get<std::string>();
    entry.reason = entry.json.at("reason").get<std::string>();
    entry.key = entry.json.at("key").get<std::string>();
    entry.hash = entry.json.at("hash").get<std::string>();
    if (entry.json.at("n") != number)
      throw InputError(where + "entry " + entry.json["n"].dump() + " is here");
    if (entry.json.at("previous") != head()) throw InputError(where + "does not follow the entry before it");
    if (to_line(entry.json) != line || hash_of_entry(entry.json) != entry.hash)
      throw InputError(where + "checksum mismatch: the entry was edited");
    check_signature(entry, where, problems);
  } catch (const InputError& wrong) {
    problems.push_back(wrong.what());
  } catch (const Json::exception&) {
    problems.push_back(where + "not an entry of a registry's log");
  }
  entries_.push_back(std::move(entry));
}

void RegistryLog::check_signature(const LogEntry& entry, const std::string& where,
                                  std::vector<std::string>& problems) const {
  if (entry.key.empty()) return;
  if (const std::string wrong = file_problem(key_file(entry.key), entry.key); !wrong.empty()) {
    problems.push_back(wrong);
    return;
  }
  const PublicKey key = read_public_key(key_file(entry.key));
  const std::string signature = from_base64(entry.text("signature"), where + "signature");
  if (!key.verifies(signed_bytes(entry.json), signature))
    problems.push_back(where + "the signature does not fit the entry");
}

fs::path RegistryLog::key_file(const std::string& hint) const {
  if (hint.size() != 64 || hint.find_first_not_of("0123456789abcdef") != hint.npos)
    throw InputError(file_.string(), 0, "the name of a key is no SHA-256");
  return registry_ / "keys" / (hint + ".pub");
}

void RegistryLog::check_key(const Actor& actor) const {
  const std::string mine = actor.key ? actor.key->public_key().hint() : "";
  for (const LogEntry& entry : entries_) {
    if (entry.key.empty()) continue;
    const bool is_same = is_same_person(entry.by, actor.name);
    if (is_same && mine.empty()) refuse_release(actor.name + " signs in this registry; --key is needed");
    if (is_same && entry.key != mine)
      refuse_release(actor.name + " has signed with another key (" + short_hint(entry.key) + ", not " +
                     short_hint(mine) + ")");
    if (!is_same && entry.key == mine)
      refuse_release("this key (" + short_hint(mine) + ") is the one of " + entry.by);
  }
}

void RegistryLog::append(const std::string& event, const std::string& version, const Json& fields,
                         const Actor& actor) {
  const bool is_first = text_.empty();
  Json entry = {{"n", entries_.size() + 1}, {"time", utc_text(std::time(nullptr))},
                {"event", event},           {"version", version},
                {"by", actor.name},         {"reason", actor.reason}};
  for (const auto& [name, value] : fields.items())
    entry[name] = value;
  entry["previous"] = head();
  entry["key"] = actor.key ? actor.key->public_key().hint() : "";
  if (actor.key) {
    const fs::path file = key_file(entry["key"].get<std::string>());
    if (!fs::exists(file)) {
      create_folders(file.parent_path());
      write_file(file, actor.key->public_key().pem());
    }
    entry["signature"] = to_base64(actor.key->sign(signed_bytes(entry)));
  }
  entry["hash"] = hash_of_entry(entry);
  const std::string line = to_line(entry);
  write_file(file_, text_ + line + "\n");
  if (is_first) ::chmod(file_.c_str(), 0644);  // new .jsonl files are for their owner; this one is for all
  text_ += line + "\n";
  std::vector<std::string> problems;
  take(line, static_cast<long>(entries_.size()) + 1, problems);
  if (!problems.empty()) throw Bug("an entry that was just written is wrong: " + problems.front());
}

}  // namespace cai
