"""The module against what the shipped model is known to do: `python -m unittest discover -s bindings/python/tests`."""

import pickle
import tempfile
import threading
import time
import unittest
from pathlib import Path

import siskin

MODEL = Path(__file__).parents[3] / "models/en-de/en-de.siskin"
TEXTS = ["I like tea.", "", "Where is the station?"]
TEA, STATION = "Ich mag Tee.", "Wo ist der Bahnhof?"


class TranslatorTest(unittest.TestCase):
    def test_texts_are_answered_in_their_order(self):
        answers = siskin.Translator(MODEL).translate(TEXTS)
        self.assertEqual([str(answer) for answer in answers], [TEA, "", STATION])
        self.assertEqual(siskin.Translator(MODEL, load="map").translate(TEXTS[2]).text, STATION)
        self.assertEqual(siskin.Translator(MODEL).translate([]), [])

    def test_options_change_the_search(self):
        best = siskin.Translator(MODEL, beam=4, n_best=3).translate(TEXTS[2])
        self.assertEqual(len({text for text, _ in best.alternatives}), 3)
        scores = [score for _, score in best.alternatives]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual((best.text, best.score), best.alternatives[0])
        sample = lambda seed: siskin.Translator(MODEL, temperature=3.0, seed=seed).translate(TEXTS[2]).text
        self.assertEqual(sample(1), sample(1))
        self.assertNotEqual(sample(1), sample(2))

    def test_a_stream_grows_to_the_whole_answer(self):
        text = "The weather is nice today. We are going to the beach with our children."
        translator = siskin.Translator(MODEL)
        parts = list(translator.stream(text))
        self.assertGreater(len(parts), 2)
        self.assertEqual("".join(parts), translator.translate(text).text)
        stream = translator.stream(text)
        next(stream)
        del stream  # which cancels, and leaves the translator to the next call
        self.assertEqual(translator.translate(TEXTS[2]).text, STATION)

    def test_what_is_wrong_is_an_exception(self):
        with self.assertRaises(siskin.Error) as caught:
            siskin.Translator("no-such-file")
        self.assertEqual(caught.exception.kind, "Io")
        with self.assertRaises(siskin.Error) as caught:
            siskin.Translator(MODEL, beam=99)
        self.assertEqual(caught.exception.kind, "InvalidOption")
        for options, exception in [
            (dict(beams=4), TypeError),
            (dict(beam="four"), TypeError),
            (dict(beam=-1), OverflowError),
            (dict(unit="page"), ValueError),
            (dict(load="lazily"), ValueError),
        ]:
            with self.assertRaises(exception, msg=str(options)):
                siskin.Translator(MODEL, **options)
        with self.assertRaises(TypeError):
            siskin.Translator(MODEL).translate([7])

    def test_one_bad_text_spoils_no_other(self):
        translator = siskin.Translator(MODEL, long_input="refuse", unit="line")
        texts = [TEXTS[0], "word " * 20_000, TEXTS[2]]
        answers = translator.translate(texts, return_exceptions=True)
        self.assertEqual((answers[0].text, answers[2].text), (TEA, STATION))
        self.assertEqual(answers[1].kind, "InputTooLong")
        with self.assertRaisesRegex(siskin.Error, "text 1"):
            translator.translate(texts)

    def test_other_threads_run_meanwhile(self):
        translator = siskin.Translator(MODEL)
        texts = ["The weather is nice today, and we are going to the beach with our children."] * 200
        worker = threading.Thread(target=translator.translate, args=(texts,))
        worker.start()
        turns = 0
        while worker.is_alive():
            turns += 1
            time.sleep(0.001)
        self.assertGreater(turns, 2)

    def test_threads_share_a_translator(self):
        translator = siskin.Translator(MODEL)
        answers = [None] * 8

        def work(i):
            answers[i] = [answer.text for answer in translator.translate(TEXTS)]

        workers = [threading.Thread(target=work, args=(i,)) for i in range(len(answers))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.assertEqual(answers, [[TEA, "", STATION]] * 8)

    def test_it_says_what_it_runs_on(self):
        self.assertIsInstance(siskin.Translator(MODEL).isa, str)
        with self.assertRaises(TypeError):
            pickle.dumps(siskin.Translator(MODEL))


class LearnerTest(unittest.TestCase):
    def test_a_correction_becomes_an_adapter(self):
        source, target = "I saw a lapwing.", "Ich habe einen Kiebitz gesehen."
        self.assertNotEqual(siskin.Translator(MODEL).translate(source).text, target)
        learner = siskin.Learner(MODEL)
        outcome = learner.learn([(source, target)])
        self.assertTrue(outcome.kept, outcome.message)
        self.assertEqual(outcome.version, 1)
        with tempfile.TemporaryDirectory() as folder:
            adapter = Path(folder) / "me.adapter"
            learner.save(adapter)
            self.assertEqual(siskin.Translator(MODEL, adapter=adapter).translate(source).text, target)
            again = siskin.Learner(MODEL, adapter=adapter).learn([(source, target)])
            self.assertTrue(again.kept, again.message)
        with self.assertRaises(siskin.Error):
            learner.learn([("", "")])

    def test_terms_change_nothing_else(self):
        corrections = [("Where is the lapwing?", "Wo ist der Kiebitz?"), ("I saw a lapwing.", "Ich sah einen Kiebitz.")]
        learner = siskin.Learner(MODEL, reach="terms")
        self.assertTrue(learner.learn(corrections).kept)
        with tempfile.TemporaryDirectory() as folder:
            adapter = Path(folder) / "me.adapter"
            learner.save(adapter)
            taught, plain = siskin.Translator(MODEL, adapter=adapter), siskin.Translator(MODEL)
            self.assertEqual(taught.translate("Where is he?").score, plain.translate("Where is he?").score)
            self.assertIn("Kiebitz", taught.translate("This is a lapwing.").text)
        with self.assertRaises(ValueError):
            siskin.Learner(MODEL, reach="some")


if __name__ == "__main__":
    unittest.main()
