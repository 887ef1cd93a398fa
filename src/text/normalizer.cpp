#include "cai/text/normalizer.hpp"

#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/base/unicode.hpp"
#include "cai/base/regex.hpp"

namespace cai {
namespace {

std::string replace_all(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  std::size_t from = 0;
  for (std::size_t at; !pattern.empty() && (at = text.find(pattern, from)) != text.npos;
       from = at + pattern.size())
    out.append(text.substr(from, at - from)).append(content);
  return out.append(text.substr(from));
}

std::string replace_matches(const Regex& pattern, std::string_view text, std::string_view content) {
  std::string out;
  for (const Piece& piece : pattern.cut(text))
    out.append(piece.matches ? content : piece.text);
  return out;
}

std::string strip(std::string_view text, bool left, bool right) {
  std::size_t from = 0, to = text.size(), kept = 0;
  bool begun = !left;
  for (std::size_t at = 0, size = 0; at < text.size(); at += size) {
    const bool space = is_white_space(character_at(text, at, size));
    if (!begun && !space) begun = true, from = at;
    if (!space) kept = at + size;
  }
  if (!begun) return "";
  if (right) to = std::max(from, kept);
  return std::string(text.substr(from, to - from));
}

std::optional<NormalForm> form_of(const std::string& type) {
  if (type == "NFC") return NormalForm::kNfc;
  if (type == "NFD") return NormalForm::kNfd;
  if (type == "NFKC") return NormalForm::kNfkc;
  if (type == "NFKD") return NormalForm::kNfkd;
  return std::nullopt;
}

}  // namespace

Normalizer Normalizer::from_json(const SortedJson& json, const std::string& file) {
  Normalizer normalizer;
  if (!json.is_null()) normalizer.add(json, file);
  return normalizer;
}

void Normalizer::add(const SortedJson& json, const std::string& file) {
  const std::string type = json.value("type", "");
  if (const auto form = form_of(type)) {
    steps_.push_back([form = *form](std::string_view text) { return normalised(text, form); });
  } else if (type == "Lowercase") {
    steps_.push_back(lower_case);
  } else if (type == "Prepend") {
    const std::string before = json.at("prepend").get<std::string>();
    steps_.push_back([before](std::string_view text) {
      return text.empty() ? std::string() : before + std::string(text);
    });
  } else if (type == "Strip") {
    const bool left = json.value("strip_left", true), right = json.value("strip_right", true);
    steps_.push_back([left, right](std::string_view text) { return strip(text, left, right); });
  } else if (type == "Replace") {
    const std::string content = json.at("content").get<std::string>();
    const SortedJson& pattern = json.at("pattern");
    if (pattern.contains("Regex")) {
      const Regex regex(pattern["Regex"].get<std::string>());
      steps_.push_back(
          [regex, content](std::string_view text) { return replace_matches(regex, text, content); });
    } else {
      const std::string plain = pattern.at("String").get<std::string>();
      steps_.push_back([plain, content](std::string_view text) { return replace_all(text, plain, content); });
    }
  } else if (type == "Sequence") {
    for (const SortedJson& part : json.at("normalizers"))
      add(part, file);
  } else {
    throw InputError(file, 0,
                     "normaliser " + in_quotes(type) +
                         "; accepted: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace, Strip, Sequence");
  }
}

std::string Normalizer::operator()(std::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_)
    out = step(out);
  return out;
}

}  // namespace cai
