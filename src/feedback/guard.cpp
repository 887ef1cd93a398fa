#include "cai/feedback/guard.hpp"

#include <algorithm>
#include <cstring>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/io/manifest.hpp"
#include "cai/io/safetensors.hpp"

namespace cai {
namespace fs = std::filesystem;
namespace {

constexpr int kForm = 1;  // of guard.json

Json head_json(const GuardHead& head) {
  return {{"name", head.name},
          {"bias", head.bias},
          {"calibration", {{"score", head.calibration.x}, {"p", head.calibration.y}}},
          {"figures", head.figures}};
}

GuardHead head_of(const Json& json, const std::string& prefix, const SafeTensorsFile& file) {
  GuardHead head{.name = json.at("name"), .bias = json.at("bias"), .figures = json.at("figures")};
  head.calibration.x = json.at("calibration").at("score").get<std::vector<double>>();
  head.calibration.y = json.at("calibration").at("p").get<std::vector<double>>();
  const auto tensor = std::find_if(file.tensors.begin(), file.tensors.end(),
                                   [&](const SafeTensor& t) { return t.name == prefix + head.name; });
  const bool fits = tensor != file.tensors.end() && tensor->dtype == "F32" && tensor->shape.size() == 1 &&
                    head.calibration.x.size() == head.calibration.y.size() && !head.calibration.x.empty();
  if (!fits) throw InputError("no head " + in_quotes(head.name));
  head.weights.resize(static_cast<std::size_t>(tensor->shape[0]));
  std::memcpy(head.weights.data(), tensor->bytes.data(), tensor->bytes.size());
  return head;
}

}  // namespace

double GuardHead::score(std::span<const float> windows) const {
  const std::size_t width = weights.size();
  double most = 0;
  for (std::size_t at = 0; at + width <= windows.size(); at += width) {
    double sums[8] = {};
    for (std::size_t k = 0; k < width; ++k)
      sums[k % 8] += static_cast<double>(windows[at + k]) * static_cast<double>(weights[k]);
    double sum = bias;
    for (const double part : sums)
      sum += part;
    most = at == 0 ? sum : std::max(most, sum);
  }
  return most;
}

double GuardHead::probability(double score) const {
  const double least = 1.0 / static_cast<double>(figures.value("n", 0L) + 2);
  return std::clamp(calibration.at(score), least, 1 - least);
}

void write_guard(const fs::path& folder, const GuardParts& parts) {
  create_folders(folder);
  std::vector<SafeTensor> tensors;
  Json heads = {{"requests", Json::array()}, {"exchanges", Json::array()}};
  for (const auto& [prefix, list] : {std::pair("requests", &parts.requests), {"exchanges", &parts.exchanges}})
    for (const GuardHead& head : *list) {
      heads[prefix].push_back(head_json(head));
      tensors.push_back({std::string(prefix) + "." + head.name,
                         "F32",
                         {static_cast<std::int64_t>(head.weights.size())},
                         std::as_bytes(std::span(head.weights))});
    }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  write_safetensors(folder / "guard.safetensors", tensors, {});
  write_file(folder / "constitution.yaml", parts.constitution.source);
  Json json = {
      {"guard", kForm}, {"trunk", parts.trunk}, {"threshold", parts.threshold}, {"doubtful", parts.doubtful}};
  json.update(parts.facts);
  json["heads"] = std::move(heads);
  write_file(folder / "guard.json", to_lines(json));
  Manifest manifest{"guard", sha256(to_line(json)), {}, parts.facts.value("figures", Json::object()), 0};
  for (const char* file : {"constitution.yaml", "guard.json", "guard.safetensors"})
    manifest.files.push_back({file, -1, sha256_file(folder / file)});
  write_manifest(folder, manifest);
}

GuardParts read_guard(const fs::path& folder) {
  const std::string file = (folder / "guard.json").string();
  if (!fs::exists(file)) throw InputError(folder.string(), 0, "is no guard: it holds no guard.json");
  if (const std::vector<std::string> problems = verify_manifest(folder); !problems.empty())
    throw InputError(problems.front());
  try {
    Json json = parse_json(read_file(file), file);
    if (json.at("guard") != kForm)
      throw InputError(file, 0,
                       "is of form " + json.at("guard").dump() + "; accepted: " + std::to_string(kForm));
    GuardParts parts{
        .threshold = json.at("threshold"), .doubtful = json.at("doubtful"), .trunk = json.at("trunk")};
    const SafeTensorsFile tensors = read_safetensors(folder / "guard.safetensors");
    for (const Json& head : json.at("heads").at("requests"))
      parts.requests.push_back(head_of(head, "requests.", tensors));
    for (const Json& head : json.at("heads").at("exchanges"))
      parts.exchanges.push_back(head_of(head, "exchanges.", tensors));
    for (const char* field : {"guard", "trunk", "threshold", "doubtful", "heads"})
      json.erase(field);
    parts.facts = std::move(json);
    parts.constitution = read_constitution(folder / "constitution.yaml");
    return parts;
  } catch (const Json::exception& e) {
    throw InputError(file, 0, std::string("is not a guard's: ") + e.what());
  }
}

Guard::Guard(GuardParts parts, const fs::path& trunk, const std::string& dtype)
    : parts_(std::move(parts)),
      trunk_(trunk, dtype, parts_.facts.at("identity").at("layers").get<std::vector<std::int64_t>>()) {
  const Json mine = trunk_.identity(), &wanted = parts_.facts.at("identity");
  for (const char* what : {"model", "tokenizer"})
    if (mine.at(what) != wanted.at(what))
      throw InputError("the guard was trained on another " + std::string(what) + " than " + trunk.string() +
                       " (" + parts_.trunk + "); --trunk names the model that it belongs to");
}

std::vector<GuardScores> Guard::read(std::span<const GuardText> texts) {
  std::vector<GuardScores> all(texts.size());
  trunk_.read(texts, [&](std::size_t i, GuardTrunk::Windows windows) {
    GuardScores& one = all[i];
    one.problem = std::move(windows.problem);
    if (!one.problem.empty()) return;
    const auto score = [](const std::vector<GuardHead>& heads, const std::vector<float>& of,
                          std::map<std::string, HeadScore>& to) {
      for (const GuardHead& head : heads) {
        const double score = head.score(of);
        to[head.name] = {score, head.probability(score)};
      }
    };
    score(parts_.requests, windows.request, one.request);
    if (!windows.answer.empty()) score(parts_.exchanges, windows.answer, one.exchange);
  });
  return all;
}

}  // namespace cai
