#include "cai/release/model_signature.hpp"

#include <algorithm>
#include <map>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr const char* kBundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
constexpr const char* kInToto = "application/vnd.in-toto+json";
constexpr const char* kStatement = "https://in-toto.io/Statement/v1";
constexpr const char* kPredicate = "https://model_signing/signature/v1.0";
const std::vector<std::string> kGitFiles = {".git", ".gitattributes", ".github", ".gitignore"};

std::string bytes_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

/// SHA-256 over the hashes (as bytes) of all files in their order.
std::string root_hash(const Json& resources) {
  Sha256 hash;
  for (const Json& one : resources)
    hash.update(bytes_of_hex(one.at("digest").get<std::string>()));
  return hash.hex();
}

std::string name_of(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::vector<std::string> without_signature(const fs::path& folder, const fs::path& file) {
  std::vector<std::string> ignored = kGitFiles;
  const std::string own = fs::absolute(file).lexically_relative(fs::absolute(folder)).generic_string();
  if (!own.starts_with("..")) ignored.push_back(own);
  std::sort(ignored.begin(), ignored.end());
  return ignored;
}

Json statement_of(const fs::path& folder, const std::vector<std::string>& ignored, const std::string& model) {
  Json resources = Json::array();
  for (const std::string& name : files_below(folder, ignored))
    resources.push_back({{"name", name}, {"algorithm", "sha256"}, {"digest", sha256_file(folder / name)}});
  if (resources.empty()) throw InputError(folder.string(), 0, "no files to sign");
  const Json serialization = {
      {"method", "files"}, {"hash_type", "sha256"}, {"allow_symlinks", false}, {"ignore_paths", ignored}};
  return {{"_type", kStatement},
          {"subject", Json::array({{{"name", model.empty() ? name_of(folder) : model},
                                    {"digest", {{"sha256", root_hash(resources)}}}}})},
          {"predicateType", kPredicate},
          {"predicate", {{"serialization", serialization}, {"resources", resources}}}};
}

/// The statement of a bundle whose signature counts. Throws InputError.
Json signed_statement(const fs::path& file, const PublicKey& key) {
  const std::string name = file.string();
  if (!fs::is_regular_file(file)) throw InputError(name, 0, "no such signature file");
  const Json bundle = parse_json(read_file(file), name);
  if (bundle.at("mediaType") != kBundle)
    throw InputError(name, 0, "not a Sigstore bundle of version 0.3 (mediaType)");
  const Json& envelope = bundle.at("dsseEnvelope");
  if (envelope.at("payloadType") != kInToto)
    throw InputError(name, 0, "the signed payload is no in-toto statement");
  if (envelope.at("signatures").size() != 1) throw InputError(name, 0, "expected exactly one signature");
  const Json& material = bundle.at("verificationMaterial");
  if (!material.contains("publicKey"))
    throw InputError(name, 0, "not signed with a key; signatures by certificates are not read");
  const std::string hint = material["publicKey"].value("hint", "");
  if (!hint.empty() && hint != key.hint())
    throw InputError(
        name, 0,
        "signed with another key (" + hint.substr(0, 12) + "..., not " + key.hint().substr(0, 12) + "...)");
  const std::string payload = from_base64(envelope["payload"].get<std::string>(), name + ": payload");
  const std::string signature =
      from_base64(envelope["signatures"][0].at("sig").get<std::string>(), name + ": sig");
  if (!key.verifies(dsse_bytes(kInToto, payload), signature))
    throw InputError(name, 0, "the signature does not fit the key and the content");
  return parse_json(payload, name + " (payload)");
}

/// Name -> SHA-256 of a statement whose parts fit together. Throws InputError.
std::map<std::string, std::string> listed_files(const Json& statement, const std::string& file) {
  if (statement.at("_type") != kStatement) throw InputError(file, 0, "the payload is no in-toto statement");
  if (statement.at("predicateType") != kPredicate)
    throw InputError(file, 0, std::string("the statement is of another kind; accepted: ") + kPredicate);
  const Json& predicate = statement.at("predicate");
  const Json& how = predicate.at("serialization");
  if (how.at("method") != "files" || how.at("hash_type") != "sha256")
    throw InputError(file, 0, "signed by parts of files or another hash; accepted: method files, sha256");
  std::map<std::string, std::string> files;
  for (const Json& one : predicate.at("resources")) {
    const std::string digest = one.at("digest").get<std::string>();
    if (one.at("algorithm") != "sha256" || !is_sha256(digest))
      throw InputError(file, 0, "a listed hash is no SHA-256");
    files[one.at("name").get<std::string>()] = digest;
  }
  const Json& subject = statement.at("subject");
  if (subject.size() != 1 || files.size() != predicate["resources"].size() ||
      subject[0].at("digest").at("sha256") != root_hash(predicate["resources"]))
    throw InputError(file, 0, "the list of files does not fit its own hash");
  return files;
}

std::vector<std::string> ignored_of(const Json& statement) {
  std::vector<std::string> ignored = kGitFiles;
  const Json& how = statement.at("predicate").at("serialization");
  if (how.contains("ignore_paths"))
    for (const Json& path : how["ignore_paths"])
      ignored.push_back(path.get<std::string>());
  return ignored;
}

}  // namespace

std::string dsse_bytes(const std::string& type, const std::string& payload) {
  return "DSSEv1 " + std::to_string(type.size()) + " " + type + " " + std::to_string(payload.size()) + " " +
         payload;
}

std::vector<std::string> files_below(const fs::path& folder, const std::vector<std::string>& ignored) {
  if (!fs::is_directory(folder)) throw InputError(folder.string(), 0, "no such folder");
  std::vector<std::string> files;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator();
       ++entry) {
    const std::string name = entry->path().lexically_relative(folder).generic_string();
    if (std::find(ignored.begin(), ignored.end(), name) != ignored.end()) {
      entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_directory() && !entry->is_symlink()) continue;
    if (entry->is_symlink() || !entry->is_regular_file())
      throw InputError(entry->path().string(), 0, "not a regular file; symbolic links are not signed");
    files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

void sign_folder(const fs::path& folder, const fs::path& file, const SigningKey& key,
                 const std::string& name) {
  const std::string payload = to_line(statement_of(folder, without_signature(folder, file), name));
  const std::string signature = key.sign(dsse_bytes(kInToto, payload));
  const Json bundle = {{"mediaType", kBundle},
                       {"verificationMaterial",
                        {{"publicKey", {{"hint", key.public_key().hint()}}}, {"tlogEntries", Json::array()}}},
                       {"dsseEnvelope",
                        {{"payload", to_base64(payload)},
                         {"payloadType", kInToto},
                         {"signatures", Json::array({{{"sig", to_base64(signature)}, {"keyid", ""}}})}}}};
  write_file(file, to_line(bundle) + "\n");
}

std::vector<std::string> verify_folder(const fs::path& folder, const fs::path& file, const PublicKey& key) {
  std::vector<std::string> problems;
  std::map<std::string, std::string> expected;
  std::vector<std::string> ignored = without_signature(folder, file);
  try {
    const Json statement = signed_statement(file, key);
    expected = listed_files(statement, file.string());
    for (const std::string& path : ignored_of(statement))
      ignored.push_back(path);
  } catch (const InputError& refused) {
    return {refused.what()};
  } catch (const Json::exception&) {
    return {file.string() + ": not a signature of a model (OpenSSF Model Signing 1.0)"};
  }
  for (const std::string& name : files_below(folder, ignored)) {
    const auto found = expected.find(name);
    if (found == expected.end())
      problems.push_back((folder / name).string() + ": was not signed");
    else if (found->second != sha256_file(folder / name))
      problems.push_back((folder / name).string() + ": differs from what was signed");
    if (found != expected.end()) expected.erase(found);
  }
  for (const auto& [name, digest] : expected)
    problems.push_back((folder / printable(name)).string() + ": missing");
  return problems;
}

}  // namespace cai
