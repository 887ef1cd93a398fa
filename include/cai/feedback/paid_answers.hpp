// Answers that an endpoint was paid for, kept as they come: a program that is started again asks for none of
// them twice.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "cai/feedback/answer.hpp"
#include "cai/io/file.hpp"

namespace cai {

class PaidAnswers {
 public:
  /// Opens the file, or creates it with the first answer; "" keeps nothing. What a killed program left behind
  /// the last whole line is cut off.
  explicit PaidAnswers(std::filesystem::path file);

  /// The answer to this request (the hash of its address and body), if it was paid for before.
  std::optional<ChatAnswer> find(const std::string& request) const;

  /// Kept when this returns, through SIGKILL and power loss. Throws EnvironmentError.
  void add(const std::string& request, const ChatAnswer& answer);

  /// What was learned about the server, kept with the answers; the last one stands. An empty object without
  /// one.
  void note(const Json& learned);
  const Json& noted() const { return noted_; }

 private:
  void append(const Json& line);

  std::filesystem::path file_;
  std::uint64_t whole_ = 0;                             // bytes of whole lines
  std::unordered_map<std::string, std::string> lines_;  // request: its answer as JSON
  Json noted_ = Json::object();
  std::unique_ptr<AppendFile> out_;
};

}  // namespace cai
