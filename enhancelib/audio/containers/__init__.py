"""What file formats carry beside the audio: headers, chunks, loudspeaker layouts."""
