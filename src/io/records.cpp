#include "cai/io/records.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <map>
#include <optional>
#include <thread>
#include <unordered_set>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/base/log.hpp"
#include "cai/base/text.hpp"
#include "cai/io/unpack.hpp"

namespace cai {
namespace {

namespace fs = std::filesystem;

std::string shard_name(std::size_t index) {
  std::string digits = std::to_string(index);
  return std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits + ".jsonl";
}

std::string text_or_nothing(const Json& record, const char* field) {
  const auto value = record.find(field);
  return value != record.end() && value->is_string() ? value->get<std::string>() : "";
}

struct Shard {
  fs::path path;
  std::optional<std::string> sha256;  // as its folder's manifest says
  std::vector<Json> records;
  std::vector<std::pair<std::string, long>> names;  // of each record with an id, and the line
  std::exception_ptr problem;
};

// Lines of a shard; a torn last line is an error here: only the writer's own folder may end so, and it cuts
// it first.
void read_lines(Shard& shard) {
  const std::string file = shard.path.string();
  if (!fs::exists(shard.path)) throw InputError(file, 0, "missing");
  std::string text = read_file(shard.path);
  if (const std::string problem = shard.sha256 ? file_problem(shard.path, *shard.sha256, &text) : "";
      !problem.empty())
    throw InputError(problem);
  if (shard.path.extension() == ".zst" && !text.starts_with("\x28\xb5\x2f\xfd"))
    throw InputError(file, 0, "not a whole zstd file");
  text = unpack(std::move(text), file);
  long line = 0;
  for (std::size_t from = 0; from < text.size();) {
    ++line;
    std::size_t to = text.find('\n', from);
    if (to == std::string::npos) to = text.size();
    const std::string_view one(text.data() + from, to - from);
    from = to + 1;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Json record = parse_json(one, file, line);
    if (!record.is_object()) throw InputError(file, line, "not a JSON object");
    if (const auto id = record.find("id"); id != record.end())
      shard.names.emplace_back(
          (id->is_string() ? id->get<std::string>() : id->dump()) + "\n" + text_or_nothing(record, "model"),
          line);
    shard.records.push_back(std::move(record));
  }
}

bool is_shard(const fs::path& path) {
  return path.extension() == ".jsonl" || (path.extension() == ".zst" && path.stem().extension() == ".jsonl");
}

// Hashing and parsing take ten times what reading does, so shards share the cores.
void read_all(std::vector<Shard>& shards) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i; (i = next++) < shards.size();) {
      try {
        read_lines(shards[i]);
      } catch (...) {
        shards[i].problem = std::current_exception();
      }
    }
  };
  const std::size_t workers = std::min<std::size_t>(
      std::thread::hardware_concurrency(), shards.size());  // this thread is one; a folder may have no shard
  std::vector<std::jthread> others;
  while (others.size() + 1 < workers)
    others.emplace_back(work);
  work();
}

}  // namespace

std::vector<Json> read_records(const fs::path& path) {
  if (!fs::exists(path)) throw InputError(path.string(), 0, "no such file or folder");
  std::vector<Shard> shards;
  if (!fs::is_directory(path)) {
    shards.push_back({path});
  } else if (const auto manifest = read_manifest(path)) {
    for (const ManifestFile& file : manifest->files)
      if (file.records >= 0)
        shards.push_back({path / file.file, file.sha256});
      else if (const std::string problem = file_problem(path / file.file, file.sha256); !problem.empty())
        throw InputError(problem);
  } else {
    for (const auto& entry : fs::directory_iterator(path))
      if (is_shard(entry.path()) && entry.path().filename() != "metrics.jsonl" &&
          entry.path().filename() != "failures.jsonl")
        shards.push_back({entry.path()});
    std::sort(shards.begin(), shards.end(), [](const Shard& a, const Shard& b) { return a.path < b.path; });
    if (shards.empty()) throw InputError(path.string(), 0, "no *.jsonl files in this folder");
  }
  read_all(shards);
  std::vector<Json> records;
  std::unordered_set<std::string> seen;
  for (Shard& shard : shards) {
    if (shard.problem) std::rethrow_exception(shard.problem);
    for (auto& [name, line] : shard.names)
      if (const auto [known, is_new] = seen.insert(std::move(name)); !is_new)
        throw InputError(shard.path.string(), line,
                         "duplicate id " + in_quotes(known->substr(0, known->rfind('\n'))));
    std::move(shard.records.begin(), shard.records.end(), std::back_inserter(records));
  }
  return records;
}

struct RecordWriter::Impl {
  using Clock = std::chrono::steady_clock;

  fs::path folder;
  std::string stage, key;
  std::size_t shard_records;
  std::vector<Json> earlier;
  std::map<std::size_t, std::string> waiting;  // out of order
  std::size_t next = 0;                        // index of the next record to append
  std::size_t durable = 0;
  Clock::time_point synced = Clock::now();
  Clock::duration cost{};  // of the last sync
  std::unique_ptr<AppendFile> shard, hashes;
  std::string lines, line_hashes;    // to append to them
  std::vector<Sha256> shard_hashes;  // of each shard so far
  Clock::time_point appended = Clock::now();

  void open();
  void resume();
  bool resume_shard(std::size_t index, const std::vector<std::string>& expected);
  void take_ready();
  void append();
};

namespace {

// What is noted for a line: of the shard up to its end, so one pass gives these and the shard's own. Enough
// to tell a torn or damaged line: one in 2^64.
std::string line_hash(const Sha256& shard) {
  return shard.hex().substr(0, 16);
}

// The key of an unfinished folder, "" when its marker is missing or damaged.
std::string marked_key(const fs::path& marker) {
  if (!fs::exists(marker)) return "";
  try {
    return read_sealed(marker).value("key", std::string());
  } catch (const InputError& damaged) {
    log_warning(damaged.what());
    return "";
  }
}

// A server's answers beside a command's records: those that still fit are not paid for again.
void take_paid_answers(const fs::path& from, const fs::path& to) {
  constexpr const char* kName = "endpoint.answers";
  if (fs::exists(from / kName)) write_file(to / kName, read_file(from / kName));
}

}  // namespace

// An unfinished folder with the same key goes on; anything else in its place moves aside.
void RecordWriter::Impl::open() {
  const fs::path marker = folder / "progress.json";
  fs::path aside;
  remove_unpublished(folder);
  if (fs::exists(folder) && !fs::is_empty(folder)) {
    const auto manifest = read_manifest(folder);
    if (manifest && manifest->key == key)
      throw Bug("the stage in " + folder.string() + " is finished already");
    if (manifest || marked_key(marker) != key) {
      for (int n = 1; aside.empty() || fs::exists(aside); ++n)
        aside = folder.string() + ".stale-" + std::to_string(n);
      log_info(folder.string() + " was made with different settings; keeping it as " +
               aside.filename().string());
      rename_durably(folder, aside);
    }
  }
  create_folders(folder);
  if (!aside.empty()) take_paid_answers(aside, folder);
  if (fs::exists(marker))
    resume();
  else
    write_sealed(marker, {{"stage", stage}, {"key", key}});
  hashes = std::make_unique<AppendFile>(folder / "progress.hashes", next * 17);
}

// Takes the records of one shard up to the first line that is torn or has not its hash, and cuts the rest.
// True when the shard is full.
bool RecordWriter::Impl::resume_shard(std::size_t index, const std::vector<std::string>& expected) {
  const fs::path path = folder / shard_name(index);
  const std::string text = read_file(path);
  Sha256 hash;
  std::size_t keep = 0, lines = 0;
  for (std::size_t end; lines < shard_records && (end = text.find('\n', keep)) != text.npos;
       ++lines, keep = end + 1) {
    if (earlier.size() >= expected.size()) break;  // written, its hash was not: never acknowledged
    const std::string_view line = std::string_view(text).substr(keep, end + 1 - keep);
    hash.update(line);
    if (line_hash(hash) != expected[earlier.size()]) {
      log_warning(path.string() + ":" + std::to_string(lines + 1) +
                  ": the line does not match its recorded hash; regenerating from here");
      break;
    }
    earlier.push_back(parse_json(line, path.string(), static_cast<long>(lines) + 1));
  }
  // Written anew, not only synced: a sync that failed once may have left pages that the kernel no longer
  // holds for dirty.
  const std::string_view kept = std::string_view(text).substr(0, keep);
  write_file(path, kept);
  shard_hashes.emplace_back().update(kept);
  return lines == shard_records;
}

void RecordWriter::Impl::resume() {
  std::vector<std::string> expected;
  const fs::path noted = folder / "progress.hashes";
  if (const std::string text = fs::exists(noted) ? read_file(noted) : ""; !text.empty())
    for (std::size_t at = 0; at + 17 <= text.size(); at += 17)
      expected.push_back(text.substr(at, 16));
  std::size_t index = 0;
  while (fs::exists(folder / shard_name(index)) && resume_shard(index, expected))
    ++index;
  for (++index; fs::exists(folder / shard_name(index)); ++index)
    remove_path(folder / shard_name(index));
  next = durable = earlier.size();
}

// Takes what is next in order, and begins a shard where one is full.
void RecordWriter::Impl::take_ready() {
  for (auto it = waiting.begin(); it != waiting.end() && it->first == next; it = waiting.erase(it), ++next) {
    if (next % shard_records == 0 || !shard) {
      append();
      if (shard) shard->sync();
      shard = std::make_unique<AppendFile>(folder / shard_name(next / shard_records), UINT64_MAX);
      shard_hashes.resize(next / shard_records + 1);  // one that goes on has its own already
    }
    lines += it->second;
    shard_hashes.back().update(it->second);
    line_hashes += line_hash(shard_hashes.back()) += '\n';
  }
}

void RecordWriter::Impl::append() {
  if (!lines.empty()) shard->append(lines), hashes->append(line_hashes);
  lines.clear(), line_hashes.clear();
  appended = Clock::now();
}

RecordWriter::RecordWriter(const fs::path& folder, std::string stage, std::string key, long shard_records)
    : impl_(std::make_unique<Impl>()) {
  impl_->folder = folder;
  impl_->stage = std::move(stage);
  impl_->key = std::move(key);
  impl_->shard_records = static_cast<std::size_t>(shard_records);
  impl_->open();
}

RecordWriter::~RecordWriter() = default;

const std::vector<Json>& RecordWriter::already_written() const {
  return impl_->earlier;
}

void RecordWriter::write(std::size_t index, Json record) {
  Impl& m = *impl_;
  if (index < m.next || m.waiting.count(index))
    throw Bug("record " + std::to_string(index) + " written twice");
  m.waiting.emplace(index, to_line(record) += '\n');
  m.take_ready();
  const Impl::Clock::time_point now = Impl::Clock::now();
  if (now - m.appended > std::chrono::milliseconds(20) || m.lines.size() > (1 << 16))
    m.append();  // one call for many records that come at once
  const auto since = now - m.synced;
  if ((m.next - m.durable >= 64 && since > 50 * m.cost) || since > std::chrono::seconds(2)) flush();
}

void RecordWriter::flush() {
  Impl& m = *impl_;
  m.take_ready();
  m.append();
  const Impl::Clock::time_point begin = Impl::Clock::now();
  if (m.shard && m.next > m.durable) m.shard->sync(), m.hashes->sync();
  m.durable = m.next;
  m.synced = Impl::Clock::now();
  m.cost = m.synced - begin;
}

std::size_t RecordWriter::durable() const {
  return impl_->durable;
}

void RecordWriter::finish(const Json& figures, double seconds, const std::vector<std::string>& extras) {
  Impl& m = *impl_;
  flush();
  if (!m.waiting.empty())
    throw Bug("record " + std::to_string(m.next) + " of " + m.folder.string() + " was never written");
  m.shard.reset(), m.hashes.reset();
  Manifest manifest{m.stage, m.key, {}, figures, seconds};
  for (std::size_t first = 0, index = 0; first < m.next; first += m.shard_records, ++index)
    manifest.files.push_back({shard_name(index), static_cast<long>(std::min(m.shard_records, m.next - first)),
                              m.shard_hashes[index].hex()});
  for (const std::string& file : extras)
    if (fs::exists(m.folder / file)) manifest.files.push_back({file, -1, sha256_file(m.folder / file)});
  write_manifest(m.folder, manifest);
  remove_progress(m.folder);
}

void remove_progress(const fs::path& folder) {
  // The manifest says that the folder is whole; these are looked at no more.
  for (const char* name : {"progress.json", "progress.hashes"})
    remove_if_possible(folder / name);
}

}  // namespace cai
