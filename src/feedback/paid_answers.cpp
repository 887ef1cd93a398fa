#include "cai/feedback/paid_answers.hpp"

#include "cai/base/error.hpp"

namespace cai {

PaidAnswers::PaidAnswers(std::filesystem::path file) : file_(std::move(file)) {
  if (file_.empty() || !std::filesystem::exists(file_)) return;
  const std::string text = read_file(file_);
  while (whole_ < text.size()) {
    const std::size_t end = text.find('\n', whole_);
    if (end == text.npos) break;
    try {
      const Json line = parse_json(std::string_view(text).substr(whole_, end - whole_), file_.string());
      if (line.contains("learned")) {
        noted_ = line["learned"];
      } else {
        const Json& answer = line.at("answer");
        chat_answer_of(answer);
        lines_.insert_or_assign(line.at("request").get<std::string>(), to_line(answer));
      }
    } catch (const Json::exception&) {
      break;
    } catch (const InputError&) {
      break;  // a damaged line: from here on answers are asked for again
    }
    whole_ = end + 1;
  }
}

std::optional<ChatAnswer> PaidAnswers::find(const std::string& request) const {
  const auto it = lines_.find(request);
  if (it == lines_.end()) return std::nullopt;
  return chat_answer_of(parse_json(it->second, file_.string()));
}

void PaidAnswers::add(const std::string& request, const ChatAnswer& answer) {
  if (file_.empty()) return;
  const Json record = to_json(answer);
  append({{"request", request}, {"answer", record}});
  lines_.insert_or_assign(request, to_line(record));
}

void PaidAnswers::note(const Json& learned) {
  noted_ = learned;
  if (!file_.empty()) append({{"learned", learned}});
}

void PaidAnswers::append(const Json& line) {
  if (!out_) out_ = std::make_unique<AppendFile>(file_, whole_);
  out_->append(to_line(line) + "\n");
  out_->sync();
}

}  // namespace cai
