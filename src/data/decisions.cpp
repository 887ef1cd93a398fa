#include "cai/data/decisions.hpp"

#include <algorithm>
#include <string_view>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"

namespace cai {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMark = "\xef\xbb\xbf";  // the byte order mark that some editors write

// Where the part of a file ends that is read: behind the last line break, or at the end when what stands
// there is a whole object: a file that was made by hand may lack its last line break; what a killed process
// left does not parse.
std::size_t end_of_lines(std::string_view text) {
  const std::size_t last = text.rfind('\n') == text.npos ? 0 : text.rfind('\n') + 1;
  if (trim(text.substr(last)).empty()) return last;
  try {
    const std::string_view line = text.substr(text.starts_with(kMark) && last == 0 ? kMark.size() : last);
    return parse_json(line, "").is_object() ? text.size() : last;
  } catch (const InputError&) {
    return last;
  }
}

}  // namespace

fs::path decisions_file(const fs::path& run) {
  return run / "review" / "decisions.jsonl";
}

std::vector<Json> read_decisions(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? decisions_file(path) : path;
  if (!fs::exists(file)) throw InputError(file.string() + ": no decisions there; cai review RUN makes them");
  std::string text = read_file(file);
  if (text.starts_with(kMark)) text.erase(0, kMark.size());
  std::vector<Json> decisions;
  std::map<std::string, std::size_t> place;
  long line = 0;
  const std::size_t end = end_of_lines(text);
  for (std::size_t from = 0, to = 0; from < end; from = to + 1) {
    to = std::min(text.find('\n', from), text.size());
    ++line;
    if (trim(text.substr(from, to - from)).empty()) continue;
    Json d = parse_json(std::string_view(text).substr(from, to - from), file.string(), line);
    const auto is_text = [&](const char* field) {
      return d.is_object() && d.contains(field) && d[field].is_string();
    };
    const bool is_pair = is_text("a") && is_text("b"),
               is_edit = is_text("edited") && !trim(d["edited"].get<std::string>()).empty();
    const bool is_whole =
        is_text("id") && is_text("prompt") && (is_edit || (is_pair && !d.contains("edited")));
    if (!is_whole || (d.contains("human") && !(d["human"].is_number() && d["human"] >= 0 && d["human"] <= 1)))
      throw InputError(file.string(), line,
                       "not a decision; accepted: id, prompt, a, b and human from 0 to 1, or id, prompt and "
                       "edited, an answer of a person's own");
    const auto [it, is_new] = place.emplace(d["id"].get<std::string>(), decisions.size());
    if (is_new)
      decisions.push_back(std::move(d));
    else
      decisions[it->second] = std::move(d);
  }
  return decisions;
}

DecisionFile::DecisionFile(const fs::path& file) {
  fs::create_directories(file.parent_path());
  sync_folder(file.parent_path().parent_path());
  lock_ = std::make_unique<FolderLock>(file.parent_path());
  std::uint64_t keep = 0;
  bool ends_line = true;
  if (fs::exists(file)) {
    const std::string text = read_file(file);
    keep = end_of_lines(text);
    ends_line = keep == 0 || text[keep - 1] == '\n';
  }
  file_ = std::make_unique<AppendFile>(file, keep);
  if (!ends_line) file_->append("\n");
}

void DecisionFile::add(const Json& decision) {
  file_->append(to_line(decision) + "\n");
  file_->sync();
}

People::People(const std::vector<Json>& decisions) {
  for (const Json& d : decisions) {
    if (d.contains("edited")) edits_.push_back(d);
    if (!d.contains("human") || !d.contains("a") || !d.contains("b")) continue;
    const std::string &a = d["a"].get_ref<const std::string&>(), &b = d["b"].get_ref<const std::string&>();
    const double human = d["human"].get<double>();
    human_[{d["prompt"].get<std::string>(), std::min(a, b), std::max(a, b)}] = a <= b ? human : 1 - human;
  }
}

std::optional<double> People::on(const std::string& prompt, const std::string& a,
                                 const std::string& b) const {
  const auto found = human_.find({prompt, std::min(a, b), std::max(a, b)});
  if (found == human_.end()) return std::nullopt;
  return a <= b ? found->second : 1 - found->second;
}

}  // namespace cai
