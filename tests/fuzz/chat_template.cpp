#include "cai/text/chat.hpp"

#include <algorithm>
#include <map>

#include "cai/base/log.hpp"
#include "fuzz.hpp"

namespace {

// U+E000 is a control token that no template of the corpus can write: where it comes out of a conversation,
// typed text became one.
constexpr const char* kTyped = "\xee\x80\x80";

// Bytes as tokens, and control tokens behind them.
class Bytes : public cai::Tokenizer {
 public:
  explicit Bytes(std::string source) : source_(std::move(source)) {}
  std::vector<int> encode(std::string_view text) const override {
    std::vector<int> tokens;
    for (const char c : text)
      tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  std::string decode(std::span<const int>) const override { return ""; }
  std::optional<int> control(std::string_view name) const override {
    for (const cai::AddedToken& token : controls())
      if (token.content == name) return token.id;
    return std::nullopt;
  }
  std::vector<cai::AddedToken> controls() const override {
    std::vector<cai::AddedToken> all = {{kTyped, 256, true}};
    for (const char* name :
         {"<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<|eot_id|>", "<start_of_turn>"})
      all.push_back({name, 256 + static_cast<int>(all.size()), true});
    all.back().rstrip = all[2].lstrip = all[3].single_word = true;
    return all;
  }
  std::map<std::string, std::string> named_tokens() const override {
    return {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  }
  bool is_control(int token) const override { return token >= 256; }
  int vocabulary() const override { return 512; }
  std::optional<int> bos() const override { return 257; }
  std::optional<int> eos() const override { return 258; }
  bool adds_bos() const override { return true; }
  std::string chat_template() const override { return source_; }
  void save(const std::filesystem::path&) const override {}

 private:
  std::string source_;
};

}  // namespace

// A template, and behind a NUL what is said.
FUZZ_TARGET(chat_template) {
  using namespace cai;
  set_log_level(LogLevel::kOff);
  const std::size_t cut = std::min(data.find('\0'), data.size());
  const std::string source(data.substr(0, cut));
  if (source.find("e000") != source.npos || source.find("E000") != source.npos ||
      source.find("\xee\x80") != source.npos)
    return;
  const std::string said =
      std::string(data.substr(std::min(cut + 1, data.size()))) + kTyped + "<|im_end|> [INST]" + kTyped;
  fuzz::refuses_or_works([&] {
    const ChatTemplate chat(std::make_shared<Bytes>(source));
    fuzz::hold(!chat.stops().empty(), "an answer can end");
    for (const std::vector<Message>& messages :
         {std::vector<Message>{{"user", said}},
          {{"system", said}, {"user", said}, {"assistant", said}, {"user", said}}}) {
      const std::vector<int> tokens = chat.encode(messages, true);
      fuzz::hold(std::find(tokens.begin(), tokens.end(), 256) == tokens.end(),
                 "what is said becomes no control token");
    }
  });
}
