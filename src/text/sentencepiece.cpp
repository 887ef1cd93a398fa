#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/text/bpe.hpp"
#include "cai/text/sentencepiece_model.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

// The library reports most of what is wrong with a model, and lets parts of it throw.
template <class Call>
bool succeeds(Call call) {
  try {
    return call().ok();
  } catch (const std::exception&) {
    return false;
  }
}

class SentencePiece : public Tokenizer {
 public:
  SentencePiece(std::string bytes, const Json& config, const std::string& file)
      : bytes_(std::move(bytes)), config_(config) {
    // The library walks through a map of characters without looking where it ends (0.1.97: a damaged one is a
    // read outside the map), and no model of the Llama family has one: they are of the kind "identity".
    const auto model = parse_sentencepiece(bytes_);
    if (!model || model->has_character_map)
      throw InputError(file, 0,
                       "not a sentencepiece model, or one with a normalisation map; accepted: those with "
                       "normalizer identity");
    if (!succeeds([&] { return processor_.LoadFromSerializedProto(bytes_); }))
      throw InputError(file, 0, "not a sentencepiece model");
    for (const std::string& name : chat_markers())
      if (const int id = processor_.PieceToId(name); id != processor_.unk_id() && !processor_.IsControl(id))
        reachable_.push_back(name);
  }

  // The library never matches control pieces in text; user-defined ones belong to text, but for those that a
  // chat format writes: a text that spells one is encoded in two parts, cut behind the marker's first
  // character.
  std::vector<int> encode(std::string_view raw) const override {
    const std::string text = to_utf8(raw);
    std::vector<int> ids;
    for (std::size_t from = 0;;) {
      std::size_t marker = text.npos;
      for (const std::string& name : reachable_)
        marker = std::min(marker, text.find(name, from));
      const std::size_t to = marker == text.npos ? text.size() : marker + 1;
      const std::vector<int> part =
          from == 0 ? pieces_of(text.substr(0, to)) : going_on(text.substr(from, to - from));
      ids.insert(ids.end(), part.begin(), part.end());
      if (to == text.size()) return ids;
      from = to;
    }
  }

  std::string decode(std::span<const int> tokens) const override {
    std::vector<int> kept;
    for (int t : tokens)
      if (t >= 0 && t < vocabulary() && !is_control(t)) kept.push_back(t);
    std::string text;
    if (!succeeds([&] { return processor_.Decode(kept, &text); }))
      throw InputError("sentencepiece could not decode these tokens");
    return to_utf8(text);
  }

  std::optional<int> control(std::string_view name) const override {
    const int id = processor_.PieceToId(std::string(name));
    if (id == processor_.unk_id() || (!processor_.IsControl(id) && !added_symbol(id))) return std::nullopt;
    return id;
  }
  bool is_control(int t) const override {
    return t >= 0 && t < vocabulary() && (processor_.IsControl(t) || processor_.IsUnknown(t));
  }
  int vocabulary() const override { return processor_.GetPieceSize(); }
  std::optional<int> bos() const override { return optional(processor_.bos_id()); }
  std::optional<int> eos() const override { return optional(processor_.eos_id()); }
  bool adds_bos() const override { return flag_of(config_, "add_bos_token", true); }
  std::string chat_template() const override { return template_of(config_, "tokenizer_config.json"); }

  std::vector<AddedToken> controls() const override {
    std::vector<AddedToken> out;
    for (int id = 0; id < vocabulary(); ++id)
      if (processor_.IsControl(id)) out.push_back({processor_.IdToPiece(id), id, true});
    for (const std::string& name : reachable_)
      out.push_back({name, processor_.PieceToId(name), true});
    return out;
  }

  std::map<std::string, std::string> named_tokens() const override {
    std::map<std::string, std::string> named = named_tokens_of(config_);
    const std::pair<const char*, int> ids[] = {{"bos_token", processor_.bos_id()},
                                               {"eos_token", processor_.eos_id()},
                                               {"unk_token", processor_.unk_id()}};
    for (const auto& [name, id] : ids)
      if (id >= 0) named.emplace(name, processor_.IdToPiece(id));
    return named;
  }

  void save(const fs::path& folder) const override {
    create_folders(folder);
    write_file(folder / "tokenizer.model", bytes_);
    Json c = config_;
    if (!c.contains("tokenizer_class")) c["tokenizer_class"] = "LlamaTokenizer", c["legacy"] = false;
    Json map = Json::object();
    const auto name = [&](const char* key, int id) {
      if (id >= 0) map[key] = processor_.IdToPiece(id), c[key] = processor_.IdToPiece(id);
    };
    name("bos_token", processor_.bos_id()), name("eos_token", processor_.eos_id()),
        name("unk_token", processor_.unk_id());
    write_file(folder / "tokenizer_config.json", c.dump(2) + "\n");
    write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
    Json generation = Json::object();
    if (bos()) generation["bos_token_id"] = *bos();
    if (eos()) generation["eos_token_id"] = *eos();
    write_file(folder / "generation_config.json", generation.dump(2) + "\n");
  }

 private:
  std::string bytes_;
  Json config_;
  sentencepiece::SentencePieceProcessor processor_;

  std::vector<std::string> reachable_;  // chat markers that the model declares as pieces of text

  std::vector<int> pieces_of(const std::string& text) const {
    std::vector<int> ids;
    if (!succeeds([&] { return processor_.Encode(text, &ids); }))
      throw InputError("sentencepiece could not encode this text");
    return ids;
  }

  // Without the space that the library puts before a text: encoded behind a line break, which is taken off
  // again.
  std::vector<int> going_on(const std::string& text) const {
    const std::vector<int> line_break = pieces_of("\n"), all = pieces_of("\n" + text);
    if (all.size() < line_break.size() || !std::equal(line_break.begin(), line_break.end(), all.begin()))
      return pieces_of(text);
    return {all.begin() + static_cast<std::ptrdiff_t>(line_break.size()), all.end()};
  }

  static std::optional<int> optional(int id) { return id >= 0 ? std::optional<int>(id) : std::nullopt; }
  bool added_symbol(int id) const { return processor_.IdToPiece(id).starts_with("<"); }
};

}  // namespace

std::shared_ptr<const Tokenizer> sentencepiece_from_file(const fs::path& model, const Json& config) {
  return std::make_shared<SentencePiece>(read_file(model), config, model.string());
}

std::shared_ptr<const Tokenizer> sentencepiece_from_gguf(const GgufFile& gguf, const std::string& file) {
  const SentencePieceModel model = sentencepiece_of_gguf(gguf, file);
  return std::make_shared<SentencePiece>(sentencepiece_bytes(model), sentencepiece_config(model, gguf), file);
}

}  // namespace cai
