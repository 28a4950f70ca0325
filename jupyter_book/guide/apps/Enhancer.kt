// A sketch of a stream on Android. NOT BUILT AND NOT RUN where this book is made: a test holds its
// names, shapes and numbers to fullband-44k.int8.stream.tflite, and nothing else has been checked.
// It needs the library com.google.ai.edge.litert:litert, whose class Interpreter is used here.

import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.PI
import kotlin.math.sin
import org.tensorflow.lite.Interpreter

const val SAMPLE_RATE = 44100
const val FRAME = 1024
const val HOP = 512
const val BINS = 513
const val STATES = 28
const val SIGNATURE = "serving_default"

/** The real FFT of a frame to pairs (real, imaginary) of BINS, not normalized, and its inverse. */
interface RealFft {
    fun forward(frame: FloatArray, pairs: FloatArray)
    fun inverse(pairs: FloatArray, frame: FloatArray)
}

/** One channel of a stream. `model` is the file in a direct buffer, `fft` is of your choice. */
class Enhancer(model: ByteBuffer, private val fft: RealFft) : AutoCloseable {
    private val interpreter = Interpreter(model, Interpreter.Options().setNumThreads(1))
    private val window = FloatArray(FRAME) { sin(PI * it / FRAME).toFloat() }
    private val held = FloatArray(FRAME) // the last frame of input
    private val tail = FloatArray(HOP) // half of the last frame of output
    private val frame = FloatArray(FRAME)
    private val pairs = FloatArray(2 * BINS)

    // float32 of shape [1, 1, 513, 2]
    private val spectrum = direct(bytes("spectrum"))
    private val enhanced = direct(bytes("spectrum"))

    // Two sets of states: one goes in, the other comes out, and then they change places.
    private val sets = List(2) { List(STATES) { direct(bytes("state_$it")) } }
    private val inputs = sets.map { set ->
        named("state_", set) + mapOf<String, Any>("spectrum" to spectrum)
    }
    private val outputs = sets.reversed().map { set ->
        named("state_out_", set) + mapOf<String, Any>("spectrum_out" to enhanced)
    }
    private var turn = 0

    init { reset() }

    /** Forget everything: at the start, on a seek and on a change of track. */
    fun reset() {
        held.fill(0f)
        tail.fill(0f)
        for (set in sets) for ((index, state) in set.withIndex()) {
            // In an 8-bit file the number that stands for zero is seldom 0; in a float file it is.
            val tensor = interpreter.getInputTensorFromSignature("state_$index", SIGNATURE)
            val zero = tensor.quantizationParams().zeroPoint.toByte()
            for (at in 0 until state.capacity()) state.put(at, zero)
        }
    }

    /** Replace a hop of samples at 44.1 kHz by the enhanced hop before it. Nothing is cut to ±1. */
    fun process(hop: FloatArray) {
        held.copyInto(held, 0, HOP, FRAME)
        hop.copyInto(held, HOP)
        for (i in 0 until FRAME) frame[i] = held[i] * window[i]
        fft.forward(frame, pairs)
        for (each in inputs[turn].values) (each as ByteBuffer).rewind()
        for (each in outputs[turn].values) (each as ByteBuffer).rewind()
        spectrum.asFloatBuffer().put(pairs)
        interpreter.runSignature(inputs[turn], outputs[turn], SIGNATURE)
        turn = 1 - turn
        enhanced.rewind()
        enhanced.asFloatBuffer().get(pairs)
        fft.inverse(pairs, frame)
        for (i in 0 until HOP) {
            hop[i] = tail[i] + frame[i] * window[i]
            tail[i] = frame[HOP + i] * window[HOP + i]
        }
    }

    override fun close() = interpreter.close()

    private fun bytes(name: String) =
        interpreter.getInputTensorFromSignature(name, SIGNATURE).numBytes()

    private fun direct(bytes: Int) =
        ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())

    private fun named(prefix: String, set: List<ByteBuffer>): Map<String, Any> =
        set.withIndex().associate { (index, state) -> "$prefix$index" to state }
}
