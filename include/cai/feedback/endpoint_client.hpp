// Asks one or more servers of the same model: requests in flight, tries, budgets, and what the servers do not
// take.
#pragma once

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cai/base/random.hpp"
#include "cai/config/config.hpp"
#include "cai/feedback/answer.hpp"
#include "cai/feedback/endpoint_address.hpp"
#include "cai/feedback/http.hpp"
#include "cai/feedback/paid_answers.hpp"
#include "cai/feedback/request_form.hpp"
#include "cai/feedback/speaker.hpp"

namespace cai {

/// One question to a server.
struct EndpointCall {
  Question question;
  long sample = -1;      // number of a sampled reply to the same question; -1: there is one answer
  bool is_anew = false;  // ask even where an answer was paid for, and keep the new one instead
};

class EndpointClient {
 public:
  using Receive = std::function<void(std::size_t, const ChatAnswer&)>;

  EndpointClient(const EndpointConfig& endpoint, const std::filesystem::path& paid);
  ~EndpointClient();

  /// Asks all calls that are not paid for yet, at most endpoint.concurrency at once, and hands over each
  /// answer, or what went wrong for good. Whatever ends the call (a signal, a spent budget, a refused key)
  /// lets the requests under way land first: they are paid for. Throws EnvironmentError when a question got
  /// no answer although it may get one later (endpoint.failed: again), or when none gets any.
  void run(std::span<const EndpointCall> calls, const Receive& receive);

  /// Throws EnvironmentError with the server's words when there were questions and it answered none.
  void need_an_answer() const;

  RequestForm& form() { return form_; }
  Usage usage() const { return usage_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Job;
  struct Flight;
  struct Server {
    EndpointAddress address;
    Clock::time_point paused_until{};
    long in_flight = 0, failed_in_a_row = 0;
    bool is_dropped = false;
  };
  struct FreeMulti {
    void operator()(CURLM* m) const { curl_multi_cleanup(m); }
  };

  std::deque<std::unique_ptr<Job>> unpaid(std::span<const EndpointCall> calls, const Receive& receive);
  void start_some(std::deque<std::unique_ptr<Job>>& waiting, Flight& flight, std::exception_ptr& end);
  void land_some(std::deque<std::unique_ptr<Job>>& waiting, Flight& flight, const Receive& receive,
                 std::exception_ptr& end);
  void start(Job& job, Server& server);
  bool judge(Job& job, HttpAnswer answer, const Receive& receive);
  bool refused(Job& job, const HttpAnswer& answer, ChatAnswer& kept);
  void accept(Job& job, ChatAnswer answer, const Receive& receive);
  void wait_for_retry(Job& job, const HttpAnswer& answer);
  void give_up(const Job& job, const std::string& problem, bool may_pass);
  void note_failure(Server& server, const std::string& problem);
  Server* free_server(Clock::time_point now, const Job& job);
  int until_next(const std::deque<std::unique_ptr<Job>>& waiting) const;
  void spend(const Job& job, const ChatAnswer& answer);
  std::string spent_budget() const;
  std::string where(const Job& job) const;
  std::string hidden(std::string text) const { return without_key(std::move(text), key_); }

  EndpointConfig config_;
  std::vector<Server> servers_;
  std::string key_;
  RequestForm form_, first_form_;  // first_form_: as it was before anything was learned; names the questions
  PaidAnswers paid_;
  std::unique_ptr<CURLM, FreeMulti> multi_;
  Clock::time_point begin_ = Clock::now();
  bool ever_answered_ = false;
  long failed_in_a_row_ = 0, unanswered_ = 0, refused_ = 0;
  std::string last_problem_;
  int noted_version_ = 0;  // of the form that stands among the paid answers
  Usage usage_;
};

}  // namespace cai
