#include <sentencepiece_processor.h>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/text.hpp"
#include "cai/io/file.hpp"
#include "cai/text/bpe.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

class SentencePiece : public Tokenizer {
 public:
  SentencePiece(const fs::path& model, const Json& config) : bytes_(read_file(model)), config_(config) {
    if (!processor_.LoadFromSerializedProto(bytes_).ok()) throw InputError(model.string(), 0, "not a sentencepiece model");
  }

  // The library never matches control pieces in text; user-defined ones belong to text.
  std::vector<int> encode(std::string_view raw) const override {
    const std::string text = to_utf8(raw);
    std::vector<int> ids;
    if (!processor_.Encode(text, &ids).ok()) throw InputError("sentencepiece could not encode this text");
    return ids;
  }

  std::string decode(std::span<const int> tokens) const override {
    std::vector<int> kept;
    for (int t : tokens)
      if (t >= 0 && t < vocabulary() && !is_control(t)) kept.push_back(t);
    std::string text;
    if (!processor_.Decode(kept, &text).ok()) throw InputError("sentencepiece could not decode these tokens");
    return to_utf8(text);
  }

  std::optional<int> control(std::string_view name) const override {
    const int id = processor_.PieceToId(std::string(name));
    if (id == processor_.unk_id() || (!processor_.IsControl(id) && !added_symbol(id))) return std::nullopt;
    return id;
  }
  bool is_control(int t) const override { return t >= 0 && t < vocabulary() && (processor_.IsControl(t) || processor_.IsUnknown(t)); }
  int vocabulary() const override { return processor_.GetPieceSize(); }
  std::optional<int> bos() const override { return optional(processor_.bos_id()); }
  std::optional<int> eos() const override { return optional(processor_.eos_id()); }
  bool adds_bos() const override { return config_.value("add_bos_token", true); }
  std::string chat_template() const override {
    return config_.contains("chat_template") && config_["chat_template"].is_string() ? config_["chat_template"].get<std::string>() : "";
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
    name("bos_token", processor_.bos_id()), name("eos_token", processor_.eos_id()), name("unk_token", processor_.unk_id());
    write_file(folder / "tokenizer_config.json", c.dump(2) + "\n");
    write_file(folder / "special_tokens_map.json", map.dump(2) + "\n");
    Json generation = Json::object();
    if (bos()) generation["bos_token_id"] = *bos();
    if (eos()) generation["eos_token_id"] = *eos();
    write_file(folder / "generation_config.json", generation.dump(2) + "\n");
  }

  std::string fingerprint() const override { return cai::sha256(bytes_ + config_.dump()); }

 private:
  std::string bytes_;
  Json config_;
  sentencepiece::SentencePieceProcessor processor_;

  static std::optional<int> optional(int id) { return id >= 0 ? std::optional<int>(id) : std::nullopt; }
  bool added_symbol(int id) const { return processor_.IdToPiece(id).starts_with("<"); }
};

}  // namespace

std::shared_ptr<const Tokenizer> sentencepiece_from_file(const fs::path& model, const Json& config) { return std::make_shared<SentencePiece>(model, config); }

}  // namespace cai
